"""`current`: the call that is running, for the code that serves it."""

import asyncio
from contextvars import ContextVar

from metergate.core.draws import FIXED_COUNTS
from metergate.core.money import MoneyError, units
from metergate.core.refusal import Refusal
from metergate.errors import InvalidInput, MetergateError, StoreUnavailable, as_exception
from metergate.gate.call import Call, Visit
from metergate.gate.members import NOBODY

running: ContextVar[Call | Visit | None] = ContextVar("metergate_running", default=None)


def _running() -> Call | Visit:
    found = running.get()
    if found is None:
        raise MetergateError(
            "There is no request here; use `current` while the app serves one behind MeterGate.",
            reason="no_call",
        )
    return found


class Current:
    """The account, the key and the plan of the running call, and what can be done with them.

    All three are empty where nobody had to show a key: on public routes, and in shadow mode.
    """

    @property
    def account(self) -> str:
        return _running().member.caller.account.id

    @property
    def key(self) -> str:
        key = _running().member.caller.key
        return key.kid if key else ""

    @property
    def plan(self) -> str:
        call = _running()
        return call.gate.policy.plan(call.member.caller.account.plan).id

    @property
    def request_id(self) -> str:
        return _running().request_id

    async def charge(self, meter: str, units: int = 1) -> None:
        """Count more of a meter; raises `PaymentRequired` when it does not fit."""
        await _charge(_running(), meter, units)

    async def require(self, feature: str) -> None:
        """Go on only if the plan has the feature; raises `FeatureNotAvailable` otherwise."""
        _require(_running(), feature)

    @property
    def sync(self) -> "SyncCurrent":
        return SyncCurrent()


class SyncCurrent:
    """The same from a handler that runs in a thread."""

    def charge(self, meter: str, units: int = 1) -> None:
        call = _running()
        loop = call.gate.loop
        if _on_loop(loop):
            raise MetergateError("Use `await current.charge(…)` in an async handler.", reason="wrong_colour")
        asyncio.run_coroutine_threadsafe(_charge(call, meter, units), loop).result()

    def require(self, feature: str) -> None:
        _require(_running(), feature)


def _on_loop(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


async def _charge(call: Call | Visit, meter: str, amount: int) -> None:
    policy = call.gate.policy
    known = policy.meters.get(meter)
    if known is None:
        raise InvalidInput(f"The policy has no meter {meter!r}; add it under `meters:`.")
    if known.count not in FIXED_COUNTS:
        raise InvalidInput(
            f"The meter {meter!r} counts {known.count} by itself; charge one with `count: app`."
        )
    try:
        wanted = units(amount, "units")
    except MoneyError as error:
        raise InvalidInput(str(error)) from error
    if call.member is NOBODY:
        if call.gate.shadows(call.route):
            return
        raise MetergateError(
            "Nobody can be charged on a public route; leave out `public: true` to know who calls.",
            reason="no_account",
        )
    charged = call.gate.charge(call, meter, wanted)
    found = charged if isinstance(charged, Call | Refusal) else await charged
    if isinstance(found, Refusal):
        raise _refused(call, found)
    try:
        found.dispatched()
    except StoreUnavailable:
        found.release()
        raise
    if call.ended:
        found.settle()


def _require(call: Call | Visit, feature: str) -> None:
    policy = call.gate.policy
    plan = policy.plan(call.member.caller.account.plan)
    if feature not in plan.features and not call.gate.shadows(call.route):
        missing = f"The plan does not contain {feature!r}; choose a plan that does."
        raise _refused(call, Refusal("feature_not_in_plan", missing, scope="plan"))


def _refused(call: Call | Visit, refusal: Refusal) -> MetergateError:
    """The exception for the app. Whoever lets it through has the caller answered with the refusal."""
    call.refused = refusal
    return as_exception(refusal)


current = Current()
