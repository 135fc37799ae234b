"""Tickets: what a front keeps of the hold of a call that it serves itself.

A front asks for a decision and lets its call go, so nothing of the call stays in this process. The ticket
carries what was agreed, sealed with the pepper: any process that shares the store can end the hold, and so
can one that was started since. What a hold comes to is a function of its ticket and the units alone, at the
instant of the decision; so an end that is told twice is the same end, and another one is a conflict.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from typing import Final

import msgspec

from metergate.core.budget import actual_amounts
from metergate.core.hold import Outcome, Terms, TwinFields, stands_until_us
from metergate.core.policy import Included
from metergate.core.price import Flat, Graduated, Package, PerUnit, Price, PriceRule, Ratio, Volume
from metergate.core.tariff import Tariff
from metergate.gate.call import Call
from metergate.gate.tracking import REPORTED
from metergate.ports import Settle
from metergate.wire import decode_terms, encode, encode_outcome

PREFIX: Final = "hold_"
TICKET_MAX: Final = 16 * 1024
SEAL_BYTES: Final = 16
VERSION_BYTES: Final = 2
PRICES: Final[tuple[type[Price], ...]] = (Flat, PerUnit, Package, Graduated, Volume)

NOTHING_SOLD: Final = PriceRule((), Flat(0))


class Packed(msgspec.Struct, array_like=True, frozen=True):
    """A tariff as it travels: in JSON, for its ratios may be larger than the numbers of msgpack."""

    kind: int
    """Which of `PRICES`; -1 where nothing is sold."""
    price: msgspec.Raw
    factor: Ratio
    multiplier: Ratio
    minimum: int
    included: int | None
    blocks: bool


def packed(tariff: Tariff) -> bytes:
    rule = tariff.rule or NOTHING_SOLD
    return msgspec.json.encode(
        Packed(
            kind=PRICES.index(type(rule.price)) if tariff.rule else -1,
            price=msgspec.Raw(msgspec.json.encode(rule.price)),
            factor=rule.multiplier,
            multiplier=tariff.multiplier,
            minimum=rule.minimum_nanos,
            included=tariff.included.units if tariff.included else None,
            blocks=tariff.blocks,
        )
    )


def unpacked(data: bytes) -> Tariff:
    told = msgspec.json.decode(data, type=Packed)
    included = None if told.included is None else Included(told.included)
    if told.kind < 0:
        return Tariff(None, included, told.blocks, told.multiplier)
    price: Price = msgspec.json.decode(told.price, type=PRICES[told.kind])
    return Tariff(PriceRule((), price, told.factor, told.minimum), included, told.blocks, told.multiplier)


class Ticket(msgspec.Struct, array_like=True, frozen=True):
    op: str
    request_id: str
    path: str
    at_us: int
    terms: msgspec.Raw
    dimensions: tuple[tuple[str, str], ...]
    units: int
    cost: int
    before: int
    """What the period had counted before."""
    known: bool
    """Whether the units are known before the call."""
    exact: bool
    """Whether the cost is what that many units cost, and not only what is held for them."""
    shadow: bool
    """Whether the call goes on only because nobody is refused."""
    price: bytes
    twin: TwinFields | None

    @property
    def until_us(self) -> int:
        return stands_until_us(self.op)

    @property
    def agreed(self) -> Terms:
        return decode_terms(bytes(self.terms))


class End(msgspec.Struct, frozen=True):
    """What a hold comes to."""

    units: int
    cost: int
    measured: str
    settle: Settle


def of_call(call: Call, at_us: int) -> Ticket:
    prepared = call.prepared
    return Ticket(
        op=call.op,
        request_id=call.request_id,
        path=call.path,
        at_us=at_us,
        terms=msgspec.Raw(prepared.terms),
        dimensions=prepared.dimensions,
        units=prepared.offer.units,
        cost=prepared.offer.cost,
        before=call.admitted_behind(),
        known=not prepared.measured,
        exact=prepared.exact,
        shadow=call.shadow is not None,
        price=packed(prepared.offer.tariff),
        twin=call.twin.fields if call.twin else None,
    )


def end(ticket: Ticket, units: int | None) -> End:
    """What the hold comes to with so many units; None where the front cannot tell.

    MoneyError where no money could pay for them.
    """
    counted = ticket.units if units is None else units
    cost = _cost(ticket, counted, told=units is not None)
    measured = _measured(ticket, told=units is not None)
    amounts = actual_amounts(ticket.agreed.draws, counted, cost)
    outcome = Outcome(counted, ticket.dimensions, cost, measured, amounts, ticket.terms)  # type: ignore[arg-type]  # a Raw is written as it is
    event = (
        ticket.op,
        ticket.request_id,
        ticket.at_us,
        ticket.path,
        encode_outcome(outcome),
        ticket.twin,
        None,
    )
    return End(counted, cost, measured, Settle(ticket.op, amounts, event))


def _cost(ticket: Ticket, counted: int, *, told: bool) -> int:
    if ticket.shadow:
        return 0
    if (ticket.exact and counted == ticket.units) or not (told or ticket.known):
        return ticket.cost
    return unpacked(ticket.price).cost(counted, ticket.before)


def _measured(ticket: Ticket, *, told: bool) -> str:
    if ticket.shadow:
        return "shadow"
    if ticket.known:
        return "measured"
    return REPORTED if told else "held"


# -- the seal ----------------------------------------------------------------------------------------------


def seal(ticket: Ticket, peppers: Mapping[int, bytes]) -> str:
    """The ticket as text that nobody else can make."""
    version = max(peppers)
    data = version.to_bytes(VERSION_BYTES, "big") + encode(ticket)
    sealed = base64.urlsafe_b64encode(_seal(data, peppers[version]) + data)
    return PREFIX + sealed.rstrip(b"=").decode()


def unseal(text: str, peppers: Mapping[int, bytes]) -> Ticket | None:
    """The ticket that the text is; None for what was never given to anybody."""
    if len(text) > TICKET_MAX or not text.startswith(PREFIX) or not text.isascii():
        return None
    body = text.removeprefix(PREFIX)
    try:
        sealed = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
    except binascii.Error:
        return None
    given, data = sealed[:SEAL_BYTES], sealed[SEAL_BYTES:]
    pepper = peppers.get(int.from_bytes(data[:VERSION_BYTES], "big"))
    if pepper is None or not hmac.compare_digest(given, _seal(data, pepper)):
        return None
    return msgspec.msgpack.decode(data[VERSION_BYTES:], type=Ticket)


def _seal(data: bytes, pepper: bytes) -> bytes:
    own = hmac.digest(pepper, b"metergate: tickets", hashlib.sha256)
    return hmac.digest(own, data, hashlib.sha256)[:SEAL_BYTES]
