"""What every call of one caller on one route has in common, made ready once."""

from metergate.core.asked import NOTHING, Asked, Dimensions
from metergate.core.budget import BALANCE, SLOTS, actual_amounts
from metergate.core.decide import Offer
from metergate.core.hold import Outcome, Terms
from metergate.core.kinds import Counts
from metergate.core.limits import is_limit
from metergate.core.policy import Route
from metergate.wire import encode_outcome, encode_terms, raw_terms


class Prepared:
    __slots__ = (
        "account",
        "amounts",
        "as_held",
        "asked",
        "balance",
        "cost_header",
        "currency",
        "dimensions",
        "draws",
        "exact",
        "expected",
        "key_ends_us",
        "limited",
        "measured",
        "offer",
        "plain",
        "races",
        "raw",
        "route",
        "terms",
        "valid_until_us",
    )

    def __init__(
        self, offer: Offer, route: Route, *, exact: bool, measured: bool, asked: Asked = NOTHING
    ) -> None:
        self.offer = offer
        self.account = offer.terms.account
        self.currency = offer.terms.currency
        self.route = route
        self.dimensions = (*route.dimensions, *asked.dimensions)
        self.asked = asked
        self.draws = offer.terms.draws
        self.terms: bytes = encode_terms(offer.terms)
        self.raw: Terms = raw_terms(self.terms)
        self.valid_until_us = offer.valid_until_us
        self.amounts = actual_amounts(self.draws, offer.units, offer.cost)
        self.as_held = None if all(draw.kind != SLOTS for draw in self.draws) else self.amounts
        """What a settle tells the store when the call came to what was held."""
        self.measured = measured
        """Whether the units are known only once the call has ended."""
        self.races = measured and offer.tally >= 0
        """Whether calls that run together are priced by who ends first."""
        self.exact = exact
        """Whether the hold is what the call costs when it counts the units that were expected."""
        self.balance = next((i for i, draw in enumerate(self.draws) if draw.kind == BALANCE), -1)
        """Which draw is the one on the balance."""
        self.limited = any(map(is_limit, self.draws))
        """Whether there is a rate or a quota to tell the caller about."""
        outcome = Outcome(offer.units, self.dimensions, offer.cost, "measured", self.amounts, self.raw)
        self.expected = encode_outcome(outcome) if exact else b""
        """What an ordinary call comes to, ready for its event; empty where that is known only at its end."""
        self.key_ends_us = 0
        """When the key ends that was shown, such as one that was replaced; 0 is never."""
        self.plain = exact and not self.races
        """Whether a call that comes to what was expected needs no more than its end."""
        self.cost_header: tuple[bytes, bytes] | None = None
        """What the shell says of the cost, once it has said it."""

    @property
    def counts(self) -> Counts:
        """What is held by kind, where units are of several."""
        return self.asked.counts

    def described(self, counts: Counts) -> Dimensions:
        """The dimensions of a call that used so many units of each kind, and where their prices are from."""
        if not counts:
            return self.dimensions
        sheet = self.offer.tariff.sheet
        source = (("prices", sheet.source),) if sheet is not None and sheet.source else ()
        return (*self.dimensions, *[(kind, str(units)) for kind, units in counts], *source)
