"""What the proof of the books answers."""

from typing import Annotated

from pydantic import Field

from metergate.api.models import Given, Time


class Difference(Given):
    sentence: str
    subject: Annotated[str, Field(description="Which account, grant, transaction, key, window or link")]
    figure: str
    expected: str
    found: str
    advice: Annotated[str, Field(description="What to do")]


class Verified(Given):
    ok: bool
    differences: list[Difference]
    head: Annotated[str, Field(description="The newest link of the chain over the ledger")]
    unchained: Annotated[int, Field(description="Rows that no link covers yet")]
    moving: Annotated[int, Field(description="Accounts that were spending all the while")]


class Head(Given):
    head: Annotated[str, Field(description="number:hash, to keep elsewhere and to verify with later")]
    link: int
    hash: str
    at: Time | None
    unchained: int


class Derived(Given):
    derived: bool


class Retried(Given):
    posted: int
    left: Annotated[int, Field(description="Events that still cannot be posted")]
