"""Credits: given once per id, corrected, and shown."""

import secrets
from collections.abc import Iterable, Mapping

from metergate.admin import inputs, shapes
from metergate.admin.desk import Desk, Json, page
from metergate.admin.errors import NotFound
from metergate.core import periods
from metergate.core.grants import order
from metergate.core.money import as_json
from metergate.core.policy import Plan
from metergate.errors import InvalidInput
from metergate.ledger import accounts, balances, corrections, grants, promotions
from metergate.ledger.accounts import Account
from metergate.ledger.database import Tx
from metergate.ledger.grants import Given, GrantRow
from metergate.ports import Adjust, AskBudget, Change, PutAccount

TRIAL = "trial:"
PAYMENT = ("payment:", "refund:", "dispute:")
ADJUST = f"{corrections.ADJUST}:"
GRANTS_SHOWN = 1000


class Credits:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def grant(
        self,
        account: object,
        amount: object,
        expires_at: object = None,
        promotional: object = False,
        id: object = None,
        memo: object = "",
        promotion: object = "",
    ) -> Json:
        """Give credits to an account, once per id; those of a promotion once per person."""
        owner = inputs.account_id(account)
        nanos = inputs.amount(amount, "an amount")
        grant_id = f"grant_{secrets.token_hex(10)}" if id is None else inputs.ident(id, "a grant id")
        if grant_id.startswith((TRIAL, ADJUST, *PAYMENT)):
            raise InvalidInput(
                f"Use a grant id that does not begin with {TRIAL}, {ADJUST}, payment, refund or dispute: "
                "those are made by plans, by corrections, and by what was paid."
            )
        campaign = inputs.name(promotion, "a promotion") if promotion else ""
        kind = inputs.flag(promotional, "promotional") or bool(campaign)
        told = inputs.text(memo, "a memo", 500)
        now_us = self._desk.clock()
        if expires_at is not None:
            inputs.ending(expires_at, now_us)  # what cannot be read is refused before anything is looked up

        def work(tx: Tx) -> tuple[Json, list[Change]]:
            known = found(tx, owner)
            expires_at_us = _ending(tx, grant_id, expires_at, now_us)
            if campaign and grants.get(tx, grant_id) is None:
                _must_be_first(tx, self._desk, campaign, known, grant_id)
            given = grants.give(
                tx,
                owner,
                nanos,
                id=grant_id,
                at_us=now_us,
                expires_at_us=expires_at_us,
                promotional=kind,
                memo=told,
            )
            if not given.repeated:
                details = {"id": grant_id, "amount": as_json(nanos, known.currency), "promotional": kind}
                self._desk.note(tx, "grant.give", owner, details)
            shown = shapes.grant(given.grant, _left(tx, owner).get(grant_id, 0), now_us)
            return shown, [PutAccount(known.facts), *adjustment(self._desk, given)]

        shown = await self._desk.change(work, [grant_id])
        self._desk.hooks.granted()
        return shown

    async def adjust(self, account: object, amount: object, reason: object, id: object = None) -> Json:
        """Correct what an account can spend with a new transaction, once per id; below zero takes away."""
        owner = inputs.account_id(account)
        delta = inputs.change(amount)
        why = inputs.text(reason, "a reason", 500)
        if not why.strip():
            raise InvalidInput("Give a reason: whoever reads the books later wants to know it.")
        name = secrets.token_hex(10) if id is None else inputs.ident(id, "an id")
        now_us = self._desk.clock()

        def work(tx: Tx) -> tuple[Json, list[Change]]:
            known = found(tx, owner)
            done = corrections.adjust(tx, owner, delta, id=name, at_us=now_us, reason=why)
            if not done.repeated:
                details = {"id": name, "amount": as_json(delta, done.currency), "reason": why}
                self._desk.note(tx, "credits.adjust", owner, details)
            shown = {
                "id": name,
                "account": owner,
                "amount": as_json(delta, done.currency),
                "reason": why,
                "transaction": done.transaction,
                "balance": as_json(balances.balance(tx, owner), done.currency),
            }
            told = self._desk.must_tell(done.transaction, repeated=done.repeated)
            change = [Adjust(done.transaction, owner, delta)] if told else []
            return shown, [PutAccount(known.facts), *change]

        name_of = f"grant:{corrections.ADJUST}:{name}" if delta > 0 else f"{corrections.ADJUST}:{name}"
        return await self._desk.change(work, [name_of])

    async def show(self, account: object) -> Json:
        """What an account can spend, what its open calls have set aside, and its grants."""
        id = inputs.account_id(account)
        now_us = self._desk.clock()

        def work(tx: Tx) -> tuple[Account, int, list[Json]]:
            left = _left(tx, id)
            ranks = {grant.id: rank for rank, grant in enumerate(order(balances.grants_left(tx, id), now_us))}
            rows = [row for row in grants.page(tx, id, GRANTS_SHOWN) if left.get(row.id)]
            rows.sort(key=lambda row: ranks.get(row.id, GRANTS_SHOWN))
            shown = [shapes.grant(row, left[row.id], now_us) for row in rows]
            return found(tx, id), balances.balance(tx, id), shown

        known, in_ledger, shown = await self._desk.fresh(work)
        told = await self._desk.ask(self._desk.store.state((AskBudget(f"credits:{id}"),)))
        spendable = told[0] if isinstance(told[0], int) else in_ledger
        # What the ledger has and nobody can spend is set aside, by whichever process.
        held = self._desk.hooks.held(id) if self._desk.hooks.held else max(0, in_ledger - spendable)
        return {
            "account": id,
            "balance": as_json(spendable, known.currency),
            "held": as_json(held, known.currency),
            "grants": shown,
        }

    async def page(self, account: object = None, limit: object = inputs.LIMIT, after: object = "") -> Json:
        """Grants, the newest first."""
        id = None if account is None else inputs.account_id(account)
        most, last = inputs.limit(limit), inputs.seq(after)
        now_us = self._desk.clock()

        def work(tx: Tx) -> tuple[list[GrantRow], Mapping[str, int]]:
            if id is not None:
                found(tx, id)
            rows = grants.page(tx, id, most + 1, last)
            return rows, _left_of(tx, {row.account for row in rows})

        rows, left = await self._desk.fresh(work)
        shown = [shapes.grant(row, left.get(row.id, 0), now_us) for row in rows]
        return page(shown, most, [row.seq for row in rows])


def found(tx: Tx, account: str) -> Account:
    """The account, or an error that says to create it."""
    row = accounts.get(tx, account)
    if row is None:
        raise NotFound(f"There is no account {account}: create it first.")
    return row


def trial(tx: Tx, desk: Desk, account: str, plan: Plan, now_us: int) -> list[Change]:
    """The credits that come once with the first subscription to a plan."""
    if plan.trial is None:
        return []
    id = f"{TRIAL}{account}:{plan.id}"
    earlier = grants.get(tx, id)
    if earlier is not None:
        return adjustment(desk, Given(earlier, earlier.amount, repeated=True))
    kinds = desk.policy().brakes.identity
    alike = promotions.take(tx, f"{TRIAL}{plan.id}", found(tx, account), kinds, id, now_us)
    if alike:
        desk.note(tx, "trial.refused", account, {"plan": plan.id, "because": alike})
        return []
    credits, ends_us = plan.trial.credits, now_us + plan.trial.lasts_us
    given = grants.give(
        tx, account, credits, id=id, at_us=now_us, expires_at_us=ends_us, promotional=True, memo="Trial"
    )
    return adjustment(desk, given)


def _must_be_first(tx: Tx, desk: Desk, promotion: str, account: Account, grant: str) -> None:
    """The person has not had it with this account or another."""
    kinds = desk.policy().brakes.identity
    alike = promotions.take(tx, promotion, account, kinds, grant, desk.clock())
    if alike:
        raise InvalidInput(
            f"Somebody with {alike} has had the promotion {promotion} already: give credits without it, if "
            "that is meant.",
            reason="promotion_taken",
        )


def trial_id(account: str, plan: Plan) -> list[str]:
    return [f"{TRIAL}{account}:{plan.id}"] if plan.trial else []


def adjustment(desk: Desk, given: Given) -> list[Change]:
    grant = given.grant
    if not desk.must_tell(grant.id, repeated=given.repeated):
        return []
    return [Adjust(f"grant:{grant.id}", grant.account, given.delta)]


def _ending(tx: Tx, id: str, expires_at: object, now_us: int) -> int | None:
    """When the grant ends. "30d" said again means 30 days from when it was given, not from now."""
    if expires_at is None:
        return None
    earlier = grants.get(tx, id)
    at_us = inputs.ending(expires_at, earlier.created_at_us if earlier else now_us)
    periods.rfc3339(at_us)
    return at_us


def _left(tx: Tx, account: str) -> Mapping[str, int]:
    return {grant.id: grant.remaining for grant in balances.grants_left(tx, account)}


def _left_of(tx: Tx, owners: Iterable[str]) -> Mapping[str, int]:
    left: dict[str, int] = {}
    for owner in owners:
        left.update(_left(tx, owner))
    return left
