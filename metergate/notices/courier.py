"""The courier: takes what waits to its endpoints, again and again over days, and writes down each attempt.

Every endpoint has its own turn, so one that is slow or away keeps nobody else waiting. A delivery is leased
while it is on its way: who dies leaves it to others. The receiver knows a repetition by its webhook-id.
"""

import asyncio
import logging
import ssl
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from metergate import alarms
from metergate.core import outgoing
from metergate.errors import StoreUnavailable
from metergate.ledger import audit, deliveries, endpoints, notices
from metergate.ledger.database import Tx
from metergate.ledger.deliveries import DEAD, DELIVERED, Attempt, Delivery
from metergate.ledger.endpoints import FAILING, ON, Endpoint
from metergate.ledger.thread import LedgerThread
from metergate.notices.sending import Outcome, send
from metergate.ports import Clock

log = logging.getLogger("metergate.notices")

_SECOND_US: Final = 10**6
_HOUR_US: Final = 3600 * _SECOND_US
DAY_US: Final = 24 * _HOUR_US
WAITS_US: Final = (
    *(5 * _SECOND_US, 300 * _SECOND_US, 1800 * _SECOND_US),
    *(hours * _HOUR_US for hours in (2, 5, 10, 14, 20, 24)),
)
"""How long is waited after each failed attempt: about three days in all."""
PAUSE_LONGEST_US: Final = 600 * _SECOND_US
"""How long an endpoint that fails is left alone at most."""
AWAY_US: Final = 600 * _SECOND_US
"""Who took nothing for so long was away: what waits for it goes as soon as it is back."""
GIVE_UP_US: Final = 5 * DAY_US
"""An endpoint that took nothing for so long is switched off, until an operator says otherwise."""
LOOK_EVERY_US: Final = 10 * _SECOND_US
KEPT_US: Final = 90 * DAY_US
BATCH: Final = 8
GONE: Final = 410


class Courier:
    def __init__(
        self,
        ledger: Callable[[], LedgerThread],
        peppers: Callable[[], Mapping[int, bytes]],
        allowed: Callable[[], Sequence[str]],
        clock: Clock,
        trusted: ssl.SSLContext | None = None,
    ) -> None:
        """`allowed` are the private networks that the policy lists."""
        self.delivered = 0
        self.failed = 0
        self._ledger = ledger
        self._peppers = peppers
        self._allowed = allowed
        self._clock = clock
        self._trusted = trusted
        self._turns: dict[str, asyncio.Task[None]] = {}
        self._swept_us = 0
        self._looked_us = 0
        self._seen: tuple[int, int] | None = None
        """How many deliveries waited a moment ago, and how many endpoints were switched off for failing."""

    def numbers(self) -> Mapping[str, list[list[Any]]]:
        """What metrics say of notices."""
        attempts = {"notices_told": [["delivered", self.delivered], ["failed", self.failed]]}
        if self._seen is None:
            return attempts
        waiting, failing = self._seen
        return {**attempts, "notices_waiting": [[waiting]], "endpoints_failing": [[failing]]}

    async def stop(self) -> None:
        """What is on its way is let go of; its lease ends, and it goes again."""
        turns = [*self._turns.values()]
        for turn in turns:
            turn.cancel()
        await asyncio.gather(*turns, return_exceptions=True)

    async def run_once(self) -> int:
        """Deliver all that is due; how many endpoints had something. Waits for them."""
        due = await self.begin_turns()
        await asyncio.gather(*self._turns.values())
        return due

    async def begin_turns(self) -> int:
        """Have all that is due delivered, each endpoint by itself; how many had something."""
        now_us = self._clock()
        due = await self._ledger().read(lambda tx: deliveries.due(tx, now_us))
        for endpoint in due:
            if endpoint not in self._turns:
                turn = asyncio.get_running_loop().create_task(self._turn(endpoint))
                self._turns[endpoint] = turn
                turn.add_done_callback(partial(self._turn_is_over, endpoint))
        if abs(now_us - self._looked_us) >= LOOK_EVERY_US:
            self._looked_us = now_us
            self._seen = await self._ledger().read(lambda tx: (deliveries.waiting(tx), endpoints.failing(tx)))
        if abs(now_us - self._swept_us) >= _HOUR_US:
            self._swept_us = now_us
            while await self._ledger().write(lambda tx: notices.forget(tx, now_us - KEPT_US)):
                pass  # in portions, so that others have the ledger in between
        return len(due)

    def _turn_is_over(self, endpoint: str, _: asyncio.Task[None]) -> None:
        self._turns.pop(endpoint, None)

    async def _turn(self, id: str) -> None:
        """Everything that is due at one endpoint, as long as it takes it."""
        try:
            while await self._batch(id):
                pass
        except StoreUnavailable as error:
            log.warning("Notices wait and are tried again: %s", error)
        except Exception:  # the next round tries again
            log.exception("Notices for the endpoint %s could not be sent.", id)

    async def _batch(self, id: str) -> bool:
        """Whether the endpoint took something, so that it may be given more."""
        now_us = self._clock()

        def take(tx: Tx) -> tuple[Endpoint | None, list[Delivery]]:
            endpoint = endpoints.get(tx, id)
            if endpoint is None or endpoint.state != ON or endpoint.pause_until_us > now_us:
                return None, []
            # One that fails is asked with one, and not with all that waits for it.
            return endpoint, deliveries.take(tx, id, now_us, 1 if endpoint.failures else BATCH)

        endpoint, taken = await self._ledger().write(take)
        if endpoint is None or not taken:
            return False
        outcomes = await asyncio.gather(*(self._deliver(endpoint, each) for each in taken))
        return any(outcomes)

    async def _deliver(self, endpoint: Endpoint, delivery: Delivery) -> bool:
        began_us = self._clock()
        secrets = secrets_of(endpoint, self._peppers(), began_us)
        body, at_s = delivery.body.encode(), began_us // _SECOND_US
        headers = {
            "webhook-id": delivery.notice,
            "webhook-timestamp": str(at_s),
            "webhook-signature": outgoing.signature(secrets, delivery.notice, at_s, body),
        }
        if self._trusted is None:
            self._trusted = ssl.create_default_context()  # late: most processes never send anything
        outcome = await send(endpoint.url, headers, body, self._allowed(), self._trusted)
        now_us = self._clock()
        attempt = Attempt(0, began_us, max(0, now_us - began_us), outcome.status, outcome.detail)
        if outcome.taken:
            self.delivered += 1
        else:
            self.failed += 1
        off = await self._ledger().write(
            lambda tx: _note(tx, endpoint.id, delivery, attempt, outcome, now_us)
        )
        if off:
            alarms.tell(
                log,
                alarms.ENDPOINT_OFF,
                f"The endpoint {endpoint.id} was switched off: {outcome.detail} "
                f"Mend it, then run `metergate endpoints enable {endpoint.id}`.",
            )
        return outcome.taken


def secrets_of(endpoint: Endpoint, peppers: Mapping[int, bytes], now_us: int) -> list[str]:
    """The secrets that sign now: while one takes the place of another, both."""
    pepper = peppers.get(endpoint.pepper)
    if pepper is None:
        raise StoreUnavailable(
            f"The secret of the endpoint {endpoint.id} is made from pepper {endpoint.pepper}, which this "
            "process does not have: give it METERGATE_PEPPER, or rotate the secret."
        )
    versions = [endpoint.version]
    if endpoint.version > 1 and now_us < endpoint.both_until_us:
        versions.append(endpoint.version - 1)
    return [outgoing.secret(pepper, endpoint.id, version) for version in versions]


def _note(tx: Tx, id: str, delivery: Delivery, attempt: Attempt, outcome: Outcome, now_us: int) -> bool:
    """Write down what became of it; whether the endpoint was switched off for that."""
    endpoint = endpoints.get(tx, id, lock=True)
    if endpoint is None:
        return False  # deleted meanwhile, with its log
    if outcome.taken:
        deliveries.tried(tx, delivery.seq, attempt, state=DELIVERED, ended_at_us=now_us)
        if endpoint.failures:
            endpoints.change(tx, id, failures=0, failing_since_us=None, pause_until_us=0, reason="")
            if now_us - (endpoint.failing_since_us or now_us) >= AWAY_US:
                deliveries.hurry(tx, id, now_us)
        return False
    wait_us = _wait_us(delivery, outcome)
    if wait_us:
        deliveries.tried(tx, delivery.seq, attempt, next_at_us=now_us + wait_us)
    else:
        deliveries.tried(tx, delivery.seq, attempt, state=DEAD, ended_at_us=now_us)
    return _failed(tx, endpoint, outcome, now_us)


def _wait_us(delivery: Delivery, outcome: Outcome) -> int:
    """How long until the next attempt, a little different for each; 0 when it was the last one."""
    if delivery.tries >= len(WAITS_US):
        return 0
    wait_us = WAITS_US[delivery.tries]
    return max(wait_us + wait_us * (delivery.seq * 37 % 100) // 1000, outcome.retry_after_s * _SECOND_US)


def _failed(tx: Tx, endpoint: Endpoint, outcome: Outcome, now_us: int) -> bool:
    if endpoint.state != ON:
        return False
    since_us = endpoint.failing_since_us or now_us
    # Several that were on their way together are one failure.
    failures = endpoint.failures + (now_us >= endpoint.pause_until_us)
    pause_us = min(_SECOND_US * 2 ** min(failures, 20), PAUSE_LONGEST_US)
    changed: dict[str, object] = {
        "failures": failures,
        "failing_since_us": since_us,
        "pause_until_us": now_us + max(pause_us, outcome.retry_after_s * _SECOND_US),
        "reason": outcome.detail,
    }
    off = outcome.status == GONE or now_us - since_us >= GIVE_UP_US
    if off:
        changed["state"] = FAILING
        told = {"reason": outcome.detail, "given_up": deliveries.give_up(tx, endpoint.id, now_us)}
        audit.note(tx, now_us, "system", "endpoint.failing", endpoint.id, told)
    endpoints.change(tx, endpoint.id, **changed)
    return off
