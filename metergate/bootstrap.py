"""The front doors: `MeterGate` for apps, `Gate` for code without HTTP, and the office for operators."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from metergate import api, joining
from metergate.admin import Doing, Office, RemoteOffice
from metergate.admin.receipts import Payment, receipt
from metergate.api import problem
from metergate.api.relay import Relay
from metergate.asgi.lifespan import with_lifespan
from metergate.asgi.middleware import Metered
from metergate.asgi.proxy import Proxy
from metergate.asgi.types import ASGIApp, Receive, Scope, Send
from metergate.config import PolicySource, secret_files
from metergate.config import settings as environment
from metergate.config.settings import Settings
from metergate.core.verdict import Verdict
from metergate.engine import Engine
from metergate.errors import ConfigurationError, InvalidInput
from metergate.foundation import folder_of, now_us
from metergate.gate import tracking
from metergate.ports import AskAccount, Clock, answered
from metergate.upstream import ways

STARTING_S = 5.0
"""How long somebody who asks waits for an owner that is just starting."""


class MeterGate(Metered):
    """ASGI middleware that makes every call paid for.

    `policy` is a path, a dictionary or a `Policy`; left out, METERGATE_POLICY names the file.
    """

    def __init__(self, app: ASGIApp, policy: PolicySource = "", *, settings: Settings | None = None) -> None:
        self.engine = Engine(policy, settings)
        super().__init__(app, self.engine)


class Gateway(Metered):
    """The proxy in front of the policy's upstreams, as an ASGI app: what `metergate serve` serves."""

    def __init__(self, policy: PolicySource = "", *, settings: Settings | None = None) -> None:
        self.engine = Engine(policy, settings, lacking=ways.lacking)
        self._proxy = Proxy(self.engine)
        super().__init__(self._proxy, self.engine)

    async def start(self) -> None:
        """What lifespan does too; here a mistake is an exception of one sentence."""
        await self.engine.start()
        try:
            self._proxy.follow()
        except ConfigurationError:
            await self.engine.stop()
            raise

    async def stop(self) -> None:
        self._proxy.close()
        await self.engine.stop()


class CustomerSide:
    """The customer's endpoints alone, beside fronts that ask for decisions and serve the calls themselves."""

    def __init__(self, policy: PolicySource = "", *, settings: Settings | None = None) -> None:
        self.engine = Engine(policy, settings)

    async def start(self) -> None:
        await self.engine.start()

    async def stop(self) -> None:
        await self.engine.stop()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        billing = self.engine.policy.billing
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] == "http" and billing and scope["path"].startswith(f"{billing}/v1/"):
            await self.engine.billing(scope, receive, send)
        elif scope["type"] == "http":
            await problem.of_status(404)(scope, receive, send)


class Gate:
    """The same engine without HTTP: check, record, subscribe, and ask for the balance.

    An account that is checked, recorded or subscribed for the first time is created, on the default plan.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @classmethod
    @asynccontextmanager
    async def open(
        cls, policy: PolicySource = "", *, settings: Settings | None = None, clock: Clock = now_us
    ) -> AsyncIterator["Gate"]:
        engine = Engine(policy, settings, clock)
        await engine.start()
        try:
            yield cls(engine)
        finally:
            await engine.stop()

    @property
    def office(self) -> Office:
        """Everything else that an operator can do."""
        return self.engine.office

    async def check(self, account: str, wanted: str) -> Verdict:
        """Whether the account has a feature, or could use one more unit of a meter."""
        await self._known(account)
        return await tracking.check(self.engine.gate, account, wanted)

    async def record(
        self,
        account: str,
        meter: str,
        units: int = 1,
        *,
        cost: str | None = None,
        service: str = "",
        dimensions: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
    ) -> Mapping[str, Any]:
        """Count usage that has happened; with an idempotency key, once. `cost` is a decimal string."""
        await self._known(account)
        return await self.office.usage.record(
            account,
            meter,
            units,
            service,
            cost=cost,
            dimensions=dict(dimensions) if dimensions else None,
            idempotency_key=idempotency_key,
        )

    async def subscribe(self, account: str, plan: str) -> None:
        """Put the account on a plan."""
        await self._known(account)
        await self.office.accounts.subscribe(account, plan)

    async def is_subscribed(self, account: str, plan: str) -> bool:
        answer = await self.office.accounts.is_subscribed(account, plan)
        return bool(answer["subscribed"])

    async def balance(self, account: str) -> int:
        """The spendable nanos (10^-9 of the currency) of the account."""
        found = await tracking.balance(self.engine.gate, account)
        if found is None:
            raise InvalidInput(f"There is no account {account!r}; create it first.", reason="unknown_account")
        return found

    async def pay(
        self,
        account: str,
        amount: str,
        currency: str | None = None,
        *,
        description: str = "",
        method: str = "",
        provider: str = "",
        success_url: str = "",
        cancel_url: str = "",
        capture: bool = True,
        id: str | None = None,
    ) -> Payment:
        """Have an account buy credits: at once with a method that its provider keeps, or at the `url`.

        The same id again is the same payment. PaymentFailed where the provider declines, ProviderError where
        it cannot be used; what may be tried again is in docs/providers.md.
        """
        await self._known(account)
        return receipt(
            await self.office.payments.create(
                account,
                amount=amount,
                currency=currency,
                description=description,
                method=method,
                provider=provider,
                success_url=success_url,
                cancel_url=cancel_url,
                capture=capture,
                id=id,
            )
        )

    async def verify_payment(self, id: str) -> Payment:
        """Ask the provider what has become of a payment; what was paid is credited, once."""
        return receipt(await self.office.payments.verify(id))

    async def capture_payment(self, id: str, amount: str | None = None) -> Payment:
        """Take what was authorised, or a part of it."""
        return receipt(await self.office.payments.capture(id, amount))

    async def refund_payment(
        self, id: str, amount: str | None = None, *, refund: str | None = None
    ) -> Payment:
        """Give a payment back, all of it or a part, once per `refund`; its credits go with it."""
        await self.office.payments.refund(id, amount, refund)
        return receipt(await self.office.payments.show(id))

    async def _known(self, account: str) -> None:
        told = await answered(self.engine.foundation.store.state((AskAccount(account),)))
        if told[0] is None:
            await self.office.accounts.create(account)


@asynccontextmanager
async def open_office(policy: PolicySource = "", settings: Settings | None = None) -> AsyncIterator[Doing]:
    """The office of a data folder: its owner's, or one's own for as long as nobody owns it.

    Over a shared store every process has an office of its own.
    """
    given = settings or environment.read(os.environ)
    remote = RemoteOffice(folder_of(given).path)
    engine = Engine(policy, given)
    for attempt in range(50):
        if engine.policy.store != "memory" and not engine.shares and await remote.is_there():
            yield remote
            return
        try:
            await engine.start()
            break
        except ConfigurationError as error:
            if error.reason != "data_folder_in_use" or attempt == 49:
                raise
            await asyncio.sleep(STARTING_S / 50)
    try:
        yield engine.office.acting_as("cli")
    finally:
        await engine.stop()


class _Switchboard:
    """An office that is found anew for every request, so that the data folder stays free for its owner.

    Over a shared store nobody owns anything, so there it stays.
    """

    def __init__(self, policy: PolicySource, settings: Settings) -> None:
        self._policy = policy
        self._settings = settings
        self._place = str(folder_of(settings).path)
        self._engine = Engine(policy, settings)
        self._one_at_a_time = asyncio.Lock()
        self._relay = Relay(self)

    async def start(self) -> None:
        if self._engine.shares:
            await self._engine.start()

    async def stop(self) -> None:
        await self._engine.stop()

    async def do(self, verb: str, params: Mapping[str, object]) -> dict[str, Any]:
        if self._engine.shares:
            await self._engine.start()
            return await self._engine.office.acting_as("admin").do(verb, params)
        async with self._one_at_a_time, open_office(self._policy, self._settings) as office:
            return await office.do(verb, params)

    async def decide(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Where a gate is at work in this event loop it decides at once; otherwise its process is asked."""
        place = self._place
        if self._engine.shares:
            await self._engine.start()
            place = self._engine.foundation.place
        here = joining.at_home(place)
        await (here.decide if here else self._relay)(scope, receive, send)


def admin_app(policy: PolicySource = "", *, settings: Settings | None = None) -> ASGIApp:
    """The admin API as an app to mount or to serve. It asks the process that owns the data folder."""
    given = settings or environment.read(os.environ)
    token = secret_files.admin_token(given, folder_of(given).path)
    switchboard = _Switchboard(policy, given)
    app = api.admin_app(
        switchboard,
        token,
        decisions=switchboard.decide,
        authz_token=given.authz_token,
        hosts=given.admin_hosts,
    )

    async def with_office(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await with_lifespan(app, switchboard, scope, receive, send)
        else:
            await app(scope, receive, send)

    return with_office
