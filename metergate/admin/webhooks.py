"""What providers told us: listed, handled once more, and how that goes."""

from metergate.admin import inputs, money_shapes, shapes
from metergate.admin.desk import Desk, Json, page
from metergate.admin.errors import NotFound
from metergate.alarms import NEWS_LATE_S
from metergate.errors import InvalidInput
from metergate.ledger import census, inbox
from metergate.ledger.database import Tx

REPLAYED = (inbox.DEAD, inbox.REFUSED, inbox.IGNORED)
"""What may be handled once more without naming each; what is done changes nothing."""


class Webhooks:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def page(
        self,
        provider: object = None,
        state: object = None,
        limit: object = inputs.LIMIT,
        after: object = "",
    ) -> Json:
        """News of providers, the newest first."""
        name = None if provider is None else inputs.name(provider, "a provider")
        if state is not None and state not in inbox.STATES:
            raise InvalidInput(f"Ask for one of the states {', '.join(inbox.STATES)}.")
        wanted = None if state is None else str(state)
        most, last = inputs.limit(limit), inputs.seq(after)
        rows = await self._desk.read(lambda tx: inbox.page(tx, name, wanted, most + 1, last))
        return page(map(money_shapes.event, rows), most, [row.seq for row in rows])

    async def replay(self, id: object = None, provider: object = None, state: object = None) -> Json:
        """Handle news once more: one event of a provider by its id, or all that are dead or refused."""
        if id is None and state not in REPLAYED:
            raise InvalidInput(
                f"Name an event by its id, or all with one of the states {', '.join(REPLAYED)}."
            )
        name = None if provider is None else inputs.name(provider, "a provider")
        wanted = None if id is None else inputs.ident(id, "an event id")
        now_us = self._desk.clock()

        def work(tx: Tx) -> int:
            count = inbox.replay(
                tx, now_us, provider=name, event_id=wanted, state=None if wanted else str(state)
            )
            if wanted and not count:
                raise NotFound(f"There is no event {wanted}.")
            self._desk.note(tx, "webhooks.replay", wanted or str(state), {"events": count})
            return count

        count = await self._desk.ledger.write(work)
        if self._desk.hooks.till:
            self._desk.hooks.till.look_again()
        return {"replayed": count}

    async def health(self) -> Json:
        """How much news waits, since when, and what was refused."""
        till = self._desk.hooks.till
        heard = till.heard() if till else {}
        now_us = self._desk.clock()

        def work(tx: Tx) -> list[Json]:
            waiting, shown = census.waiting(tx), []
            for name, told in heard.items():
                since_us = waiting[name].oldest_us if name in waiting else now_us
                counted = inbox.counts(tx, name)
                shown.append(
                    {
                        "provider": name,
                        "events": {state: counted.get(state, 0) for state in inbox.STATES},
                        "lag_seconds": max(0, now_us - since_us) // 10**6,
                        "forged": told.get("forged", 0),
                        "last_at": shapes.when(told.get("last_us")),
                    }
                )
            return shown

        providers = await self._desk.read(work)
        return {"state": await self.state(), "data": providers}

    async def state(self) -> str:
        """Whether news is handled: ok or degraded. Strangers may ask, so it costs next to nothing."""
        since_us = self._desk.clock() - NEWS_LATE_S * 10**6

        def work(tx: Tx) -> bool:
            return bool(census.dead(tx)) or any(
                each.oldest_us < since_us for each in census.waiting(tx).values()
            )

        return "degraded" if await self._desk.read(work) else "ok"
