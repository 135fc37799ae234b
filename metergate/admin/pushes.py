"""Usage that payment providers count: what they were told, and whether all say the same."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from metergate.admin import inputs
from metergate.admin.desk import Desk, Json, page
from metergate.admin.shapes import when
from metergate.errors import InvalidInput
from metergate.ledger import pushes
from metergate.ledger.pushes import Intent

STATES = (pushes.PENDING, pushes.SENT, pushes.ACCEPTED, pushes.PARKED, pushes.DROPPED, pushes.LATE)


class Drift(Protocol):
    """One difference between the ledger, the intents and a provider: see `billing.reconciling`."""

    def _asdict(self) -> dict[str, Any]: ...


class Reconciled(Protocol):
    @property
    def differences(self) -> Sequence[Drift]: ...

    @property
    def compared(self) -> int: ...

    @property
    def repaired(self) -> int: ...


class Pushes:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def page(
        self,
        provider: object = None,
        account: object = None,
        state: object = None,
        limit: object = inputs.LIMIT,
        after: object = "",
    ) -> Json:
        """Usage totals that providers were told of, or will be, the newest first."""
        if state is not None and state not in STATES:
            raise InvalidInput(f"Ask for one of the states {', '.join(STATES)}.")
        wanted = {
            "provider": None if provider is None else inputs.name(provider, "a provider"),
            "account": None if account is None else inputs.account_id(account),
            "state": None if state is None else str(state),
        }
        most, last = inputs.limit(limit), inputs.seq(after)
        rows = await self._desk.read(lambda tx: pushes.page(tx, **wanted, limit=most + 1, after=last))
        return page(map(_shape, rows), most, [row.seq for row in rows])

    async def reconcile(
        self, provider: object = None, account: object = None, repair: object = False
    ) -> Json:
        """Whether the ledger, the intents and the providers say the same of usage; `repair` puts it right.

        What is parked is sent again, what nobody was told is told, and what a provider counts too little or
        too much is corrected there; nothing is billed twice, however often it is asked for.
        """
        till = self._desk.till
        named = "" if provider is None else inputs.name(provider, "a provider")
        owner = None if account is None else inputs.account_id(account)
        mending = inputs.flag(repair, "repair")
        if mending:
            details: Mapping[str, object] = {"provider": named, "account": owner}
            await self._desk.ledger.write(
                lambda tx: self._desk.note(tx, "reconcile.repair", owner or named or "all", details)
            )
        await self._desk.hooks.refresh()
        found = await till.reconcile(named, owner, repair=mending)
        return {
            "ok": not found.differences,
            "differences": [_drift(each._asdict()) for each in found.differences],
            "compared": found.compared,
            "repaired": found.repaired,
        }


def _drift(told: dict[str, Any]) -> Json:
    start_us, end_us = told.pop("start_us"), told.pop("end_us")
    return {**told, "since": when(start_us or None), "until": when(end_us or None)}


def _shape(row: Intent) -> Json:
    return {
        "id": row.identifier,
        "provider": row.provider,
        "account": row.account,
        "customer": row.customer,
        "meter": row.meter,
        "units": row.units,
        "since": when(row.start_us),
        "until": when(row.end_us),
        "revision": row.revision,
        "repair": row.repair,
        "state": row.state,
        "detail": row.detail or None,
        "tries": row.tries,
        "created_at": when(row.created_at_us),
        "updated_at": when(row.updated_at_us),
    }
