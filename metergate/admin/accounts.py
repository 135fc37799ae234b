"""Accounts: who pays, on which plan."""

import secrets
from collections.abc import Mapping

from metergate.admin import inputs, shapes
from metergate.admin.credits import found, trial, trial_id
from metergate.admin.desk import Desk, Json, page
from metergate.core.policy import Plan
from metergate.errors import InvalidInput
from metergate.ledger import Conflict, accounts, notices
from metergate.ledger.accounts import Account
from metergate.ledger.database import Tx
from metergate.ports import Change, PutAccount


class Accounts:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def create(
        self,
        id: object,
        plan: object = None,
        name: object = "",
        email: object = "",
        currency: object = None,
        metadata: object = None,
    ) -> Json:
        """Open an account on a plan, or on the policy's default plan, with the trial credits of the plan."""
        policy = self._desk.policy()
        chosen = policy.default_plan if plan is None else inputs.plan(plan, policy).id
        wanted = Account(
            inputs.account_id(id),
            chosen,
            name=inputs.text(name, "a name"),
            email=inputs.text(email, "an email address", 320),
            currency=self._currency(currency),
            metadata=_metadata(metadata) or {},
        )

        def work(tx: Tx) -> tuple[Json, list[Change]]:
            now_us = self._desk.clock()
            known = accounts.get(tx, wanted.id)
            if known is None:
                known = self._open(tx, wanted, now_us)
            elif not _same(known, wanted):
                raise Conflict(
                    f"There is an account {known.id} already: choose another id, or change that one."
                )
            bonus = trial(tx, self._desk, known.id, policy.plan(chosen), now_us)
            return shapes.account(known), [PutAccount(known.facts), *bonus]

        shown = await self._desk.change(work, trial_id(wanted.id, policy.plan(chosen)))
        self._desk.hooks.granted()
        return shown

    def _open(self, tx: Tx, wanted: Account, now_us: int) -> Account:
        self._desk.note(tx, "account.create", wanted.id, {"plan": wanted.plan})
        return accounts.create(
            tx,
            wanted.id,
            at_us=now_us,
            plan=wanted.plan,
            name=wanted.name,
            email=wanted.email,
            currency=wanted.currency,
            metadata=wanted.metadata,
        )

    def _currency(self, value: object) -> str:
        currency = self._desk.policy().currency
        if value is not None and value != currency:
            raise InvalidInput(f"Open the account in {currency}: the policy charges in no other currency.")
        return currency

    async def show(self, id: object) -> Json:
        account = inputs.account_id(id)
        return shapes.account(await self._desk.read(lambda tx: found(tx, account)))

    async def page(self, limit: object = inputs.LIMIT, after: object = "") -> Json:
        """Accounts in the order of their ids."""
        most, last = inputs.limit(limit), inputs.after(after)
        rows = await self._desk.read(lambda tx: accounts.page(tx, most + 1, last))
        return page(map(shapes.account, rows), most, [row.id for row in rows])

    async def update(
        self,
        id: object,
        name: object = None,
        email: object = None,
        metadata: object = None,
        suspended: object = None,
        plan: object = None,
    ) -> Json:
        """Change what is given; what is left out stays."""
        account = inputs.account_id(id)
        policy = self._desk.policy()
        chosen = None if plan is None else inputs.plan(plan, policy)
        stop = None if suspended is None else inputs.flag(suspended, "suspended")
        told = {
            "name": None if name is None else inputs.text(name, "a name"),
            "email": None if email is None else inputs.text(email, "an email address", 320),
        }
        free = _metadata(metadata)

        def work(tx: Tx) -> tuple[Json, list[Change]]:
            found(tx, account)
            changed = {field: value for field, value in told.items() if value is not None}
            if changed or free is not None:
                accounts.update(tx, account, name=told["name"], email=told["email"], metadata=free)
                fields = sorted({*changed, *(["metadata"] if free is not None else [])})
                self._desk.note(tx, "account.update", account, {"fields": fields})
            if stop is not None and accounts.suspend(tx, account, stop):
                now_us = self._desk.clock()
                self._desk.note(tx, "account.suspend" if stop else "account.resume", account)
                type = "account.suspended" if stop else "account.resumed"
                notices.tell(tx, type, account, {}, now_us, f"{account}:{now_us}")
            bonus = [] if chosen is None else self._subscribe(tx, account, chosen)
            row = found(tx, account)
            return shapes.account(row), [PutAccount(row.facts), *bonus]

        shown = await self._desk.change(work, trial_id(account, chosen) if chosen else ())
        self._desk.hooks.granted()
        return shown

    def _subscribe(self, tx: Tx, account: str, plan: Plan) -> list[Change]:
        now_us = self._desk.clock()
        before = found(tx, account).plan
        cause = f"operator:{secrets.token_hex(10)}"
        if before != plan.id and accounts.assign_plan(tx, account, plan.id, now_us, cause):
            self._desk.note(tx, "account.subscribe", account, {"plan": plan.id, "before": before})
        return trial(tx, self._desk, account, plan, now_us)

    async def suspend(self, id: object) -> Json:
        """Stop an account: its next call is refused."""
        return await self.update(id, suspended=True)

    async def resume(self, id: object) -> Json:
        return await self.update(id, suspended=False)

    async def subscribe(self, account: object, plan: object) -> Json:
        """Put an account on a plan."""
        inputs.plan(plan, self._desk.policy())
        await self.update(account, plan=plan)
        return await self.subscription(account)

    async def subscription(self, account: object) -> Json:
        id = inputs.account_id(account)
        return shapes.subscription(await self._desk.read(lambda tx: found(tx, id)))

    async def subscriptions(self, limit: object = inputs.LIMIT, after: object = "") -> Json:
        """Who is on which plan, in the order of the accounts' ids."""
        most, last = inputs.limit(limit), inputs.after(after)
        rows = await self._desk.read(lambda tx: accounts.page(tx, most + 1, last))
        return page(map(shapes.subscription, rows), most, [row.id for row in rows])

    async def is_subscribed(self, account: object, plan: object) -> Json:
        """Whether an account is on a plan; no, when there is no such account."""
        id, wanted = inputs.account_id(account), inputs.name(plan, "a plan")
        row = await self._desk.read(lambda tx: accounts.get(tx, id))
        on = (row.plan or self._desk.policy().default_plan) if row else ""
        return {"account": id, "plan": wanted, "subscribed": on == wanted}


def _metadata(value: object) -> Mapping[str, object] | None:
    return None if value is None else inputs.metadata(value)


def _same(known: Account, wanted: Account) -> bool:
    told = (known.plan, known.name, known.email, known.currency, dict(known.metadata))
    return told == (wanted.plan, wanted.name, wanted.email, wanted.currency, dict(wanted.metadata))
