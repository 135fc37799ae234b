"""What customers may see and say of payments, each of their own account."""

import contextlib
import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from metergate.admin import Office
from metergate.api import models_payments as models
from metergate.api import reading
from metergate.api.endpoints import LIST, answered
from metergate.core.facts import KeyFacts
from metergate.errors import ProviderError

HIDDEN = "mismatch"
"""What is between the operator and the provider."""


class OwnPayments:
    def __init__(self, office: Office, source: Callable[[Request], str]) -> None:
        self._office = office
        self._source = source
        """From where it is asked for: the brakes count that, too."""

    async def buy(self, request: Request, key: KeyFacts) -> Response:
        """The same Idempotency-Key goes on with the same payment."""
        reading.query(request, ())
        twin = reading.idempotency_key(request)
        wanted = reading.fitted(models.NewCheckout, await reading.json_body(request))
        if twin is not None:
            wanted["id"] = payment_id(key.account, twin)
        asked = {**wanted, "account": key.account, "source": self._source(request)}
        made = await self._office.do("payments.create", asked)
        return answered(_own(made), 201)

    async def page(self, request: Request, key: KeyFacts) -> Response:
        params = reading.query(request, LIST)
        told = await self._office.do("payments.list", {**params, "account": key.account})
        return answered({**told, "data": [_own(each) for each in told["data"]]})

    async def show(self, request: Request, key: KeyFacts) -> Response:
        """Who comes back from a provider's page wants to know: what has not ended is asked for there.

        That is also what was declined on a page, because another card may have paid there since.
        """
        reading.query(request, ())
        which = {"id": request.path_params["id"], "account": key.account}
        shown = await self._office.do("payments.show", which)
        if shown["state"] == "pending" or (shown["state"] == "failed" and shown["url"]):
            with contextlib.suppress(ProviderError):  # who is away tells us later; what we know is still true
                shown = await self._office.do("payments.verify", which)
        return answered(_own(shown))

    async def capture(self, request: Request, key: KeyFacts) -> Response:
        reading.query(request, ())
        body = await reading.optional_json_body(request)
        part = reading.fitted(models.PartOf, body)
        which = {"id": request.path_params["id"], "account": key.account}
        return answered(_own(await self._office.do("payments.capture", {**part, **which})))

    async def claim(self, request: Request, key: KeyFacts) -> Response:
        reading.query(request, ())
        told = reading.fitted(models.NewClaim, await reading.json_body(request))
        which = {"id": request.path_params["id"], "account": key.account}
        return answered(_own(await self._office.do("payments.claim", {**told, **which})))

    async def methods(self, request: Request, key: KeyFacts) -> Response:
        reading.query(request, ())
        return answered(await self._office.do("methods.list", {"account": key.account}))

    async def attach(self, request: Request, key: KeyFacts) -> Response:
        reading.query(request, ())
        told = reading.fitted(models.NewMethod, await reading.json_body(request))
        asked = {**told, "account": key.account, "source": self._source(request)}
        return answered(await self._office.do("methods.attach", asked), 201)

    async def detach(self, request: Request, key: KeyFacts) -> Response:
        reading.query(request, ())
        which = {"id": request.path_params["id"], "account": key.account}
        return answered(await self._office.do("methods.detach", which))

    async def portal(self, request: Request, key: KeyFacts) -> Response:
        reading.query(request, ())
        back = reading.fitted(models.NewPortal, await reading.optional_json_body(request))
        return answered(await self._office.do("customers.portal", {**back, "account": key.account}))


def payment_id(account: str, twin: str) -> str:
    """A payment's id from an Idempotency-Key: two accounts may use the same."""
    return "idem_" + hashlib.sha256(f"{account}\n{twin}".encode()).hexdigest()[:32]


def _own(payment: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in payment.items() if name != HIDDEN}
