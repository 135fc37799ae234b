"""Top-ups by themselves and alerts, as accounts and operators set them."""

import json
from collections.abc import Sequence
from typing import Any, Final

from metergate.admin import inputs, shapes
from metergate.admin.credits import found
from metergate.admin.desk import Desk, Json, page
from metergate.core.guards import Alerts as Levels
from metergate.core.guards import SpendAlert
from metergate.core.money import as_json, minor_unit, parse, plain, shown
from metergate.core.periods import window
from metergate.core.policy import Policy
from metergate.errors import InvalidInput
from metergate.ledger import alerts, topups
from metergate.ledger.accounts import Account
from metergate.ledger.alerts import Own
from metergate.ledger.database import Tx
from metergate.ledger.topups import OFF, ON, STOPPED, TopUp

PERIODS: Final = ("day", "week", "month", "year")
MOST: Final = 10
"""How many thresholds of a kind an account may have."""


class TopUps:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def set(
        self,
        account: object,
        threshold: object = None,
        amount: object = None,
        pack: object = None,
        monthly_cap: object = None,
        method: object = "",
    ) -> Json:
        """Have an account pay by itself when its balance is below a threshold; also go on after a stop."""
        owner = inputs.account_id(account)
        till = self._desk.till
        kept = "" if method == "" else inputs.ident(method, "a payment method")
        if kept and kept not in [each["id"] for each in await till.methods(owner)]:
            raise InvalidInput(f"The account {owner} has no payment method {kept}.")
        now_us = self._desk.clock()

        def work(tx: Tx) -> Json:
            known = found(tx, owner)
            wanted = _wanted(known, self._desk.policy(), threshold, amount, pack, monthly_cap)
            wanted = wanted._replace(method=kept, updated_at_us=now_us, next_at_us=now_us)
            before = topups.get(tx, owner, lock=True)
            row = _again(wanted, before) if before else wanted
            topups.put(tx, row)
            self._desk.note(tx, "topup.set", owner, _told(row, known.currency))
            return self._shown(row, known.currency)

        return await self._desk.ledger.write(work)

    async def show(self, account: object) -> Json:
        """How an account tops up by itself, and how that goes."""
        owner = inputs.account_id(account)

        def work(tx: Tx) -> Json:
            known = found(tx, owner)
            row = topups.get(tx, owner) or TopUp(owner, OFF, 0, 0, "", 0, "")
            return self._shown(row, known.currency)

        return await self._desk.read(work)

    async def off(self, account: object) -> Json:
        """Begin no other top-up; one that is on its way comes to its end."""
        owner = inputs.account_id(account)
        now_us = self._desk.clock()

        def work(tx: Tx) -> Json:
            known = found(tx, owner)
            row = topups.get(tx, owner, lock=True)
            if row is None:
                return self._shown(TopUp(owner, OFF, 0, 0, "", 0, ""), known.currency)
            topups.change(tx, owner, state=OFF, updated_at_us=now_us)
            self._desk.note(tx, "topup.off", owner)
            return self._shown(row._replace(state=OFF, updated_at_us=now_us), known.currency)

        return await self._desk.ledger.write(work)

    async def page(self, state: object = None, limit: object = inputs.LIMIT, after: object = "") -> Json:
        """Who tops up by itself, in the order of the accounts' ids."""
        if state is not None and state not in (ON, OFF, STOPPED):
            raise InvalidInput(f"Ask for one of the states {ON}, {OFF} and {STOPPED}.")
        wanted = None if state is None else str(state)
        most, last = inputs.limit(limit), inputs.after(after)

        def work(tx: Tx) -> list[Json]:
            rows = topups.page(tx, wanted, most + 1, last)
            return [self._shown(row, found(tx, row.account).currency) for row in rows]

        rows = await self._desk.read(work)
        return page(rows, most, [row["account"] for row in rows])

    def _shown(self, row: TopUp, currency: str) -> Json:
        month = window("month", self._desk.clock(), self._desk.policy().zone)
        spent = row.spent if row.window_us == month.start_us else 0
        return {
            "account": row.account,
            "state": row.state,
            **_told(row, currency),
            "in_flight": row.payment or None,
            "spent_this_month": as_json(spent, currency),
            "declines": row.declines,
            "reason": row.reason or None,
            "updated_at": shapes.when(row.updated_at_us),
        }


class Alerts:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def set(self, account: object, balance: object = None, spend: object = None) -> Json:
        """Give an account thresholds of its own; an empty list is none, what is left out stays."""
        owner = inputs.account_id(account)
        levels = None if balance is None else _levels(balance)
        spends = None if spend is None else _spends(spend)

        def work(tx: Tx) -> Json:
            found(tx, owner)
            before = next(iter(alerts.own(tx, owner)), Own(owner, None, None))
            row = Own(
                owner,
                before.balance if levels is None else levels,
                before.spend if spends is None else spends,
            )
            alerts.put(tx, row)
            self._desk.note(tx, "alerts.set", owner)
            return self._shown(tx, owner)

        return await self._desk.ledger.write(work)

    async def reset(self, account: object) -> Json:
        """Have an account use the policy's thresholds."""
        owner = inputs.account_id(account)

        def work(tx: Tx) -> Json:
            found(tx, owner)
            alerts.put(tx, Own(owner, None, None))
            self._desk.note(tx, "alerts.reset", owner)
            return self._shown(tx, owner)

        return await self._desk.ledger.write(work)

    async def show(self, account: object) -> Json:
        """The thresholds that hold for an account."""
        owner = inputs.account_id(account)
        return await self._desk.read(lambda tx: self._shown(tx, owner))

    def _shown(self, tx: Tx, account: str) -> Json:
        currency = found(tx, account).currency
        policy = self._desk.policy()
        # The policy's amounts are in its own currency, and say nothing of another one.
        levels = alerts.of(tx, account, policy.alerts if currency == policy.currency else Levels())
        return {
            "account": account,
            "balance": [as_json(level, currency) for level in levels.balance],
            "spend": [
                {"amount": as_json(each.amount, currency), "every": each.every} for each in levels.spend
            ],
        }


def _wanted(
    account: Account, policy: Policy, threshold: object, amount: object, pack: object, monthly_cap: object
) -> TopUp:
    """What was asked for, and the policy's where nothing was: it is kept, whatever the policy says later."""
    if amount is not None and pack is not None:
        raise InvalidInput("Give an amount or a pack, and not both.")
    default = policy.top_ups
    if account.currency != policy.currency:
        default = type(default)()
    below = default.threshold if threshold is None else inputs.amount(threshold, "a threshold")
    bought = default.pack if pack is None else inputs.name(pack, "a pack")
    nanos = default.amount if amount is None else inputs.amount(amount, "an amount")
    if pack is not None:
        nanos = 0
    elif amount is not None:
        bought = ""
    cap = default.monthly_cap if monthly_cap is None else inputs.amount(monthly_cap, "a monthly cap")
    if below <= 0:
        raise InvalidInput("Give a threshold above zero: below it a top-up begins.")
    price = _price(account, policy, nanos, bought)
    if cap and cap < price:
        raise InvalidInput(f"Give a monthly cap of at least one top-up, {plain(price)} {account.currency}.")
    return TopUp(account.id, ON, below, nanos, bought, cap, "")


def _price(account: Account, policy: Policy, nanos: int, pack: str) -> int:
    if pack:
        if pack not in policy.packs or account.currency != policy.currency:
            raise InvalidInput(f"There is no pack {shown(pack)} in {account.currency}; see the plans.")
        return policy.packs[pack].price
    if nanos <= 0:
        raise InvalidInput("Give an amount or a pack: what is bought when the balance is low.")
    unit = minor_unit(account.currency)
    if nanos % unit:
        raise InvalidInput(
            f"{plain(nanos)} {account.currency} cannot be paid: pay in steps of {plain(unit)}."
        )
    return nanos


def _again(wanted: TopUp, before: TopUp) -> TopUp:
    """New settings, and what is known of payments. One that waits for its payer is not waited for."""
    let_go = before.state == STOPPED
    claimed = json.loads(before.terms).get("price", 0) if let_go else 0
    return wanted._replace(
        round=before.round,
        payment="" if let_go else before.payment,
        terms="{}" if let_go else before.terms,
        next_at_us=wanted.next_at_us if let_go or not before.payment else before.next_at_us,
        window_us=before.window_us,
        spent=max(0, before.spent - claimed),
    )


def _told(row: TopUp, currency: str) -> dict[str, Any]:
    return {
        "threshold": as_json(row.threshold, currency),
        "amount": as_json(row.amount, currency) if row.amount else None,
        "pack": row.pack or None,
        "monthly_cap": as_json(row.monthly_cap, currency) if row.monthly_cap else None,
        "method": row.method or None,
    }


def _listed(value: object, what: str) -> Sequence[object]:
    if not isinstance(value, list | tuple) or len(value) > MOST:
        raise InvalidInput(f"Give {what} as a list of at most {MOST}, not {shown(value)}.")
    return value


def _levels(value: object) -> tuple[int, ...]:
    found = [_nanos(each) for each in _listed(value, "balances")]
    return tuple(sorted(set(found)))


def _nanos(value: object) -> int:
    nanos = inputs.sentence(lambda: parse(value))  # type: ignore[arg-type]  # what is no text is refused there
    if nanos < 0:
        raise InvalidInput(f"Give a balance of zero or more, not {shown(value)}.")
    return nanos


def _spends(value: object) -> tuple[SpendAlert, ...]:
    """Each `{amount, every}`, or as text such as 50.00/month."""
    found = []
    for each in _listed(value, "what may be spent"):
        told: Any = each
        if isinstance(each, str):
            amount, _, every = each.partition("/")
            told = {"amount": amount, "every": every or "month"}
        if not isinstance(told, dict) or set(told) - {"amount", "every"} or "amount" not in told:
            raise InvalidInput(f"Give what may be spent as amount and every, not {shown(each)}.")
        every = inputs.every(told.get("every", "month"))
        if every not in PERIODS:
            raise InvalidInput(f"Use a period of {', '.join(PERIODS)}, not {shown(every)}.")
        found.append(SpendAlert(inputs.amount(told["amount"], "an amount"), every))
    return tuple(dict.fromkeys(found))
