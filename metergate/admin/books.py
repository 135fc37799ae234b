"""The books: what the ledger holds, who did what, and how everything is."""

import time
from collections.abc import Mapping, Sequence

from metergate.admin import inputs, money_shapes, shapes
from metergate.admin.credits import found
from metergate.admin.desk import Json, page
from metergate.admin.proof import Proof
from metergate.errors import StoreUnavailable
from metergate.ledger import audit, transactions
from metergate.ledger.database import Tx
from metergate.ledger.transactions import Entry, Transaction
from metergate.ports import AskAccount

LEDGER_CAPABILITIES = ("double_entry", "append_only", "audit", "hash_chain", "verify")


class Books(Proof):
    async def ledger(self, account: object = None, limit: object = inputs.LIMIT, after: object = "") -> Json:
        """Transactions with their entries, the newest first."""
        id = None if account is None else inputs.account_id(account)
        most, last = inputs.limit(limit), inputs.seq(after)

        def work(tx: Tx) -> tuple[Sequence[Transaction], Mapping[int, list[Entry]]]:
            if id is not None:
                found(tx, id)
            rows = transactions.page(tx, id, most + 1, last)
            lines: dict[int, list[Entry]] = {row.seq: [] for row in rows}
            for entry in transactions.entries(tx, list(lines)):
                lines[entry.transaction].append(entry)
            return rows, lines

        rows, lines = await self._desk.fresh(work)
        shown = [shapes.transaction(row, lines[row.seq]) for row in rows]
        return page(shown, most, [row.seq for row in rows])

    async def audit(self, subject: object = None, limit: object = inputs.LIMIT, after: object = "") -> Json:
        """Who did what, the newest first."""
        about = None if subject is None else inputs.ident(subject, "a subject")
        most, last = inputs.limit(limit), inputs.seq(after)
        rows = await self._desk.read(lambda tx: audit.page(tx, about, most + 1, last))
        return page(map(shapes.audit, rows), most, [row.seq for row in rows])

    async def health(self) -> Json:
        """State, latency and capabilities of the store, the ledger and the worker."""
        parts = {"store": await self._store(), "ledger": await self._ledger(), "worker": self._worker()}
        ok = all(part["state"] == "ok" for part in parts.values())
        till = self._desk.hooks.till
        providers = list(await till.known()) if till else []
        return {
            "state": "ok" if ok else "degraded",
            "policy": self._desk.policy().version,
            **parts,
            "providers": providers,
            "money": money_shapes.standing(self._desk.hooks.measure()) if till else None,
        }

    async def metrics(self) -> Json:
        """Numbers for monitoring; nothing is asked that could be out of reach."""
        store = self._desk.store.health()
        now = {
            "policy": self._desk.policy().version,
            "backlog": store.backlog,
            "open_holds": store.open_holds,
        }
        return {**now, **self._desk.hooks.measure()}

    async def _store(self) -> Json:
        store = self._desk.store
        started = time.perf_counter_ns()
        detail = ""
        try:
            await self._desk.ask(store.state((AskAccount(""),)))
        except StoreUnavailable as error:
            detail = str(error)
        latency_us = (time.perf_counter_ns() - started) // 1000
        told = store.health()
        return {
            "name": told.name,
            "state": "ok" if told.ok and not detail else "down",
            "latency_us": latency_us,
            "detail": detail or told.detail,
            "backlog": told.backlog,
            "open_holds": told.open_holds,
            "capabilities": ["holds", "idempotency", *(["many_processes"] if told.shared else [])],
        }

    async def _ledger(self) -> Json:
        told = await self._desk.ledger.run(self._desk.ledger.ledger.health)
        return {
            "name": told.name,
            "state": "ok" if told.ok else "down",
            "latency_us": told.latency_us,
            "detail": told.detail,
            "version": told.version,
            "capabilities": list(LEDGER_CAPABILITIES),
        }

    def _worker(self) -> Json:
        told = dict(self._desk.hooks.worker())
        return {"state": "ok" if told.pop("ok", True) else "down", **told}
