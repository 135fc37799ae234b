"""What the Checkout API takes, as far as we ask it: another field, or one of another form, is refused."""

# The names are Adyen's.
# ruff: noqa: N815

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints

Reference = Annotated[str, StringConstraints(min_length=1, max_length=80)]


class Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Amount(Shape):
    value: int
    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]


class PaymentLink(Shape):
    merchantAccount: str
    reference: Reference
    amount: Amount
    description: Annotated[str, StringConstraints(max_length=280)] = ""
    returnUrl: Annotated[str, StringConstraints(max_length=8000)] = ""
    shopperEmail: Annotated[str, StringConstraints(max_length=500)] = ""
    shopperReference: Annotated[str, StringConstraints(min_length=3, max_length=256)] = "nobody"
    expiresAt: Annotated[str, StringConstraints(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+\d\d:\d\d$")] = (
        "2026-01-01T00:00:00+00:00"
    )
    captureDelayHours: int = 0
    manualCapture: bool = False
    reusable: bool = False


class UpdateLink(Shape):
    status: Literal["expired"]


class Capture(Shape):
    merchantAccount: str
    amount: Amount
    reference: Reference = "none"


class Cancel(Shape):
    merchantAccount: str
    reference: Reference = "none"


class PaymentMethods(Shape):
    merchantAccount: str


SHAPES: Mapping[tuple[str, str], type[Shape]] = {
    ("POST", "paymentMethods"): PaymentMethods,
    ("POST", "paymentLinks"): PaymentLink,
    ("PATCH", ""): UpdateLink,
    ("POST", "captures"): Capture,
    ("POST", "refunds"): Capture,
    ("POST", "cancels"): Cancel,
}
