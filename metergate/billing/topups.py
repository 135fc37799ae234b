"""Top-ups by themselves: who falls below a threshold pays with a method that the provider keeps.

The balance is the ledger's, and no call waits for any of this. The id of the payment is made from the
account and a number, and stands in the ledger before anything is sent. It stays there until the payment has
an end, so two workers, a crash between any two steps and a lost answer all lead to the same payment.
"""

import asyncio
import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, TypeVar

from metergate.billing import offers
from metergate.billing.asking import LONGEST_US as LONGEST_WISH_US
from metergate.billing.cashier import Cashier
from metergate.billing.orders import Wanted
from metergate.billing.providers import able
from metergate.core.money import as_json, minor_unit
from metergate.core.periods import Window, window
from metergate.core.policy import Policy
from metergate.errors import (
    InvalidInput,
    MetergateError,
    PaymentFailed,
    StoreUnavailable,
    UsageLimitExceeded,
)
from metergate.ledger import accounts, balances, epochs, notices, payments, topups
from metergate.ledger.accounts import Account
from metergate.ledger.database import Tx
from metergate.ledger.payments import Payment
from metergate.ledger.topups import OFF, ON, STOPPED, TopUp
from metergate.provider_port import (
    PENDING,
    SUCCEEDED,
    Charges,
    Methods,
    Misconfigured,
    Money,
    TryAgain,
    UnknownOutcome,
)

log = logging.getLogger("metergate.billing")
T = TypeVar("T")

_SECOND_US: Final = 10**6
LEASE_US: Final = 60 * _SECOND_US
"""How long whoever takes a top-up may need, before somebody else goes on with it."""
COOL_OFF_US: Final = 60 * _SECOND_US
"""Between two payments of an account, however much is used."""
LOOK_AGAIN_US: Final = 300 * _SECOND_US
LONGEST_US: Final = 3600 * _SECOND_US
MOST_AT_ONCE: Final = 10
"""How many amounts one payment may be, to close a gap: nobody expects a charge of any size."""
BATCH: Final = 10
BEGUN, DONE, FAILED = OUTCOMES = ("begun", "succeeded", "failed")


class Offer(NamedTuple):
    """One of what is bought, as often as the gap asks for."""

    price: int
    """In nanos."""
    credits: int
    subject: str
    description: str


class TopUps:
    def __init__(self, cashier: Cashier, policy: Callable[[], Policy]) -> None:
        self._cashier = cashier
        self._policy = policy
        self._clock = cashier.clock
        self._moved = dict.fromkeys(OUTCOMES, 0)

    def numbers(self) -> Mapping[str, list[list[Any]]]:
        """What metrics say of top-ups by themselves."""
        return {"topups_moved": [[outcome, count] for outcome, count in self._moved.items()]}

    async def run_once(self) -> int:
        """Look after all that is due; how many there were."""
        if not self._cashier.providers:
            return 0
        now_us = self._clock()
        due = await self._read(lambda tx: topups.due(tx, now_us, BATCH))
        await asyncio.gather(*(self._look_after(account) for account in due))
        return len(due)

    async def _look_after(self, account: str) -> None:
        row = await self._take(account)
        if row is None:
            return
        try:
            if not row.payment:
                row = await self._begin(row, await self._method(row))
            if row.payment:
                await self._note(row, await self._payment(row))
        except StoreUnavailable:
            raise
        except (TryAgain, UnknownOutcome) as error:
            wait_us = round(error.after_s * _SECOND_US)
            await self._put_off(row, str(error), wait_us=min(wait_us, LONGEST_WISH_US))
        except UsageLimitExceeded as error:
            await self._put_off(row, str(error), wait_us=LONGEST_US)
        except Misconfigured as error:
            await self._put_off(row, str(error), wait_us=LONGEST_US, tell=True)
        except MetergateError as error:
            await self._cannot(row, str(error))

    # -- step by step --------------------------------------------------------------------------------------

    async def _take(self, account: str) -> TopUp | None:
        """Have it to ourselves for a while; None where another has it."""
        now_us = self._clock()

        def work(tx: Tx) -> TopUp | None:
            row = topups.get(tx, account, lock=True)
            if row is None or row.next_at_us > now_us:
                return None
            topups.change(tx, account, next_at_us=now_us + LEASE_US)
            return row._replace(next_at_us=now_us + LEASE_US)

        return await self._write(work)

    async def _method(self, row: TopUp) -> str:
        """The method that is charged: the one that was chosen, or the first that the provider keeps."""
        account = await self._read(lambda tx: accounts.known(tx, row.account))
        opened = self._cashier.providers.choose(account, account.currency)
        able(opened, Charges, "charge a kept payment method")
        keeper = able(opened, Methods, "keep payment methods")
        asking = self._cashier.asking
        if asking.left_us(opened.name):  # nobody stands at the till who could not wait
            left_s = asking.left_us(opened.name) / _SECOND_US
            raise TryAgain(f"{opened.name} asked to be left alone.", left_s)
        customer = await self._cashier.customer(opened, account)
        kept = [each.id for each in await asking.of(opened.name, keeper.list_methods(customer))]
        if row.method and row.method not in kept:
            raise InvalidInput("The payment method is not there any more: choose another one.")
        if not kept:
            raise InvalidInput("There is no payment method to charge: add one.")
        return row.method or kept[0]

    async def _begin(self, taken: TopUp, method: str) -> TopUp:
        """Write down the next payment, if one is still needed and fits."""
        now_us, policy = self._clock(), self._policy()

        def work(tx: Tx) -> TopUp:
            row = topups.get(tx, taken.account, lock=True)
            if row is None or row.next_at_us != taken.next_at_us or row.payment or row.state != ON:
                return taken._replace(payment="")
            account = accounts.known(tx, row.account)
            balance = balances.balance(tx, row.account)
            begun = row._replace(next_at_us=now_us)
            if balance < row.threshold and not account.suspended:
                begun = _next(tx, row, account, balance, method, policy, now_us)
            topups.put(tx, begun)
            return begun

        begun = await self._write(work)
        self._moved[BEGUN] += bool(begun.payment)
        return begun

    async def _payment(self, row: TopUp) -> Payment:
        """Bring the payment to its provider; one that is there is asked for and not sent again."""
        known = await self._read(lambda tx: payments.get(tx, row.payment))
        if known is not None and (known.url or known.external_id or known.state != PENDING):
            return known if known.state != PENDING else await self._cashier.verify(known.id)
        terms = json.loads(row.terms)
        wanted = Wanted(
            row.account,
            Money(terms["minor"], terms["currency"]),
            credits=terms["credits"],
            subject=terms["subject"],
            description=terms["description"],
            method=terms["method"],
        )
        try:
            return await self._cashier.pay(wanted, row.payment, "top-up")
        except PaymentFailed:
            return await self._cashier.get(row.payment)

    async def _note(self, taken: TopUp, payment: Payment) -> None:
        """What became of the payment, and what that means for the next one."""
        now_us, policy = self._clock(), self._policy()

        def work(tx: Tx) -> str:
            row = topups.get(tx, taken.account, lock=True)
            if row is None or row.payment != payment.id:
                return ""  # another has seen the end already
            if payment.state == PENDING:
                topups.put(tx, _waits(tx, row, payment, now_us))
                return ""
            if payment.state == SUCCEEDED:
                topups.put(tx, _done(row, now_us))
                return DONE
            topups.put(tx, _declined(tx, row, payment, policy, now_us))
            return FAILED

        outcome = await self._write(work)
        if outcome:
            self._moved[outcome] += 1

    async def _put_off(self, taken: TopUp, why: str, *, wait_us: int, tell: bool = False) -> None:
        """Nobody said no: the same payment goes on later. What it claimed stays claimed."""
        now_us = self._clock()

        def work(tx: Tx) -> None:
            row = topups.get(tx, taken.account, lock=True)
            if row is None or row.payment != taken.payment:
                return
            wait = max(wait_us, min(15 * _SECOND_US * 2 ** min(row.tries, 20), LONGEST_US))
            topups.put(tx, row._replace(tries=row.tries + 1, next_at_us=now_us + wait, reason=why))
            if tell:
                _tell_failed(tx, row, why, now_us, f"{row.payment or row.account}:{row.round}:put off")

        log.info("The top-up of %s waits: %s", taken.account, why)
        await self._write(work)

    async def _cannot(self, row: TopUp, why: str) -> None:
        """It cannot go on as it is. A payment that surely nobody was asked for is given up."""
        payment = await self._read(lambda tx: payments.get(tx, row.payment)) if row.payment else None
        if payment is not None and (payment.unknown or payment.external_id):
            await self._put_off(row, why, wait_us=LONGEST_US)
            return
        if payment is not None:
            await self._cashier.fail(payment.id, why)
        await self._stop(row, why)

    async def _stop(self, taken: TopUp, why: str) -> None:
        now_us = self._clock()

        def work(tx: Tx) -> bool:
            row = topups.get(tx, taken.account, lock=True)
            if row is None or row.payment != taken.payment:
                return False
            topups.put(tx, _free(row, now_us)._replace(state=_unless_off(row, STOPPED), reason=why))
            _tell_failed(tx, row, why, now_us, f"{row.account}:{row.round}:{now_us}", stopped=True)
            return True

        stopped = await self._write(work)
        self._moved[FAILED] += stopped

    async def _read(self, work: Callable[[Tx], T]) -> T:
        return await self._cashier.books.ledger.read(work)

    async def _write(self, work: Callable[[Tx], T]) -> T:
        return await self._cashier.books.ledger.write(work)


def payment_id(tx: Tx, account: str, round: int) -> str:
    """Always the same for the same ledger, account and number; two ledgers may share a provider."""
    named = hashlib.sha256(f"{epochs.space(tx)}\n{account}\n{round}".encode()).hexdigest()
    return f"topup_{named[:32]}"


def _next(
    tx: Tx, row: TopUp, account: Account, balance: int, method: str, policy: Policy, now_us: int
) -> TopUp:
    offer = _offer(row, policy, account.currency)
    month = window("month", now_us, policy.zone)
    spent = row.spent if row.window_us == month.start_us else 0
    times = min(-(-(row.threshold - balance) // offer.credits), MOST_AT_ONCE)
    if row.monthly_cap:
        times = min(times, (row.monthly_cap - spent) // offer.price)
    if times < 1:
        return _capped(tx, row, month, spent, now_us)
    id = payment_id(tx, row.account, row.round + 1)
    terms = {
        "minor": offers.of_amount(row.account, offer.price * times, account.currency).amount.minor,
        "currency": account.currency,
        "credits": offer.credits * times,
        "subject": offer.subject,
        "description": offer.description,
        "method": method,
        "price": offer.price * times,
    }
    told = {
        "payment": id,
        "amount": as_json(offer.price * times, account.currency),
        "balance": as_json(balance, account.currency),
        "threshold": as_json(row.threshold, account.currency),
    }
    notices.tell(tx, "topup.started", row.account, told, now_us, id)
    return row._replace(
        round=row.round + 1,
        payment=id,
        terms=json.dumps(terms, sort_keys=True),
        tries=0,
        window_us=month.start_us,
        spent=spent + offer.price * times,
        reason="",
        updated_at_us=now_us,
    )


def _offer(row: TopUp, policy: Policy, currency: str) -> Offer:
    if not row.pack:
        return Offer(row.amount, row.amount, "", "Credits, by themselves")
    wanted = offers.of_pack(row.account, row.pack, policy)
    if wanted.amount.currency != currency:
        raise InvalidInput(f"The pack {row.pack} is sold in {wanted.amount.currency}, not {currency}.")
    price = wanted.amount.minor * minor_unit(currency)
    return Offer(price, wanted.credits, row.pack, f"Credits: {row.pack}, by themselves")


def _capped(tx: Tx, row: TopUp, month: Window, spent: int, now_us: int) -> TopUp:
    why = "The monthly cap is reached: top-ups go on with the next month, or with a higher cap."
    _tell_failed(tx, row, why, now_us, f"{row.account}:{month.start_us}:{row.monthly_cap}:cap")
    changed = row._replace(window_us=month.start_us, spent=spent, reason=why, next_at_us=month.end_us)
    return changed._replace(updated_at_us=now_us)


def _done(row: TopUp, now_us: int) -> TopUp:
    """Paid. One that was stopped because the payer had to act goes on by itself."""
    state = OFF if row.state == OFF else ON
    done = row._replace(state=state, payment="", terms="{}", declines=0, tries=0, reason="")
    return done._replace(next_at_us=now_us + COOL_OFF_US, updated_at_us=now_us)


def _waits(tx: Tx, row: TopUp, payment: Payment, now_us: int) -> TopUp:
    waiting = row._replace(next_at_us=now_us + LOOK_AGAIN_US, tries=0)
    if not payment.url:
        return waiting
    why = payment.reason or "The payer has to confirm the payment."
    cause = f"{payment.id}:confirm"
    _tell_failed(tx, row, why, now_us, cause, stopped=True, payment=payment.id, url=payment.url)
    return waiting._replace(state=_unless_off(row, STOPPED), reason=why, updated_at_us=now_us)


def _declined(tx: Tx, row: TopUp, payment: Payment, policy: Policy, now_us: int) -> TopUp:
    declines = row.declines + 1
    stopped = declines >= policy.top_ups.declines
    why = payment.reason or f"The payment is {payment.state}."
    told = {"payment": payment.id, "declines": declines}
    _tell_failed(tx, row, why, now_us, payment.id, stopped=stopped, **told)
    wait_us = policy.top_ups.pause_us * 4 ** min(declines - 1, 6)
    state = _unless_off(row, STOPPED if stopped else row.state)
    return _free(row, now_us)._replace(
        state=state, declines=declines, reason=why, next_at_us=now_us + wait_us
    )


def _free(row: TopUp, now_us: int) -> TopUp:
    """Without the payment in flight, of which nothing was paid."""
    claimed = json.loads(row.terms).get("price", 0)
    freed = row._replace(payment="", terms="{}", tries=0, spent=max(0, row.spent - claimed))
    return freed._replace(next_at_us=now_us, updated_at_us=now_us)


def _unless_off(row: TopUp, state: str) -> str:
    return OFF if row.state == OFF else state


def _tell_failed(
    tx: Tx, row: TopUp, why: str, now_us: int, cause: str, *, stopped: bool = False, **more: Any
) -> None:
    told = {"reason": why, "stopped": stopped, **more}
    notices.tell(tx, "topup.failed", row.account, told, now_us, cause)
