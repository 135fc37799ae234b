"""What models cost at their makers, from the library genai-prices, as exact integers.

The library knows dates, hours, service tiers and prompts beyond a length, and so does what is made of it.
A model whose price hangs on something that no usage tells (hours of sound, pages, a fee per request) is left
out: it has no price, and a call of it is refused, instead of being charged too little.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, time
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING

from metergate.core.kinds import SEARCH
from metergate.core.price import ByPrompt, PerUnit, Rate
from metergate.core.table import Listing, Prices, Span, Table, Variant

if TYPE_CHECKING:
    from genai_prices import types

LIBRARY = "genai-prices"

KINDS: Mapping[str, str] = {
    "input_mtok": "input",
    "cache_read_mtok": "cached_input",
    "cache_write_mtok": "cache_write",
    "cache_write_1h_mtok": "cache_write_1h",
    "input_image_mtok": "image_input",
    "cache_image_read_mtok": "cached_image_input",
    "input_video_mtok": "video_input",
    "input_audio_mtok": "audio_input",
    "cache_audio_read_mtok": "cached_audio_input",
    "output_mtok": "output",
    "output_reasoning_mtok": "reasoning",
    "output_image_mtok": "image_output",
    "output_video_mtok": "video_output",
    "output_audio_mtok": "audio_output",
    "web_searches_kcount": SEARCH,
}
"""What the library calls a price -> the kind of units it is for."""
UNSEEN = frozenset({"storage_searches_kcount"})
"""Prices of extras that no usage tells; the rest of a call is charged without them."""
PER: Mapping[str, int] = {SEARCH: 1000}
MILLION = 1_000_000
SECOND_US = 10**6


class NoTable(ValueError):
    """There is no such table; the message says what to do."""


@lru_cache(maxsize=64)
def table(maker: str) -> Table:
    """The prices of a maker's models."""
    try:
        import genai_prices
        from genai_prices.data import providers
    except ModuleNotFoundError:
        raise NoTable(
            "a table of prices needs the library genai-prices: pip install 'metergate[prices]'"
        ) from None
    known = {each.id: each for each in providers}
    if maker not in known:
        raise NoTable(f"there is no table of that name; there are {', '.join(sorted(known))}")
    makers = [known[maker], *[known[other] for other in known[maker].fallback_model_providers or ()]]
    listings = [listing for each in makers for model in each.models for listing in _listings(model)]
    return Table(f"{LIBRARY} {genai_prices.__version__} {maker}", listings)


def _listings(model: "types.ModelInfo") -> Iterator[Listing]:
    """The model, if what it costs can be told from its usage."""
    from genai_prices.types import ModelPrice

    dated = (
        [(None, model.prices)]
        if isinstance(model.prices, ModelPrice)
        else [(each.constraint, each.prices) for each in reversed(model.prices)]
    )
    if any(_keys(prices) - KINDS.keys() - UNSEEN for _, prices in dated):
        return
    yield Listing(
        model.id,
        re.compile(_pattern(model.match)),
        [(_span(constraint), _prices(prices)) for constraint, prices in dated],
        [
            Variant(each.when, _span(each.constraint), _prices(each.prices))
            for each in model.price_variants or ()
        ],
    )


def _keys(prices: "types.ModelPrice") -> set[str]:
    return {name for name, price in prices.__dict__.items() if price is not None}


def _prices(prices: "types.ModelPrice") -> Prices:
    found = {KINDS[name]: getattr(prices, name) for name in _keys(prices) & KINDS.keys()}
    return {kind: _price(price, PER.get(kind, MILLION)) for kind, price in found.items()}


def _price(price: "Decimal | types.TieredPrices", per: int) -> PerUnit | ByPrompt:
    if isinstance(price, Decimal):
        return PerUnit(_rate(price, per))
    longer = tuple([(tier.start, _rate(tier.price, per)) for tier in price.tiers])
    return ByPrompt(_rate(price.base, per), longer)


def _rate(price: Decimal, per: int) -> Rate:
    return Rate.parse(f"{price:f}", per)


def _span(constraint: "types.StartDateConstraint | types.TimeOfDateConstraint | None") -> Span:
    from genai_prices.types import StartDateConstraint

    if constraint is None:
        return Span()
    if isinstance(constraint, StartDateConstraint):
        midnight = datetime.combine(constraint.start_date, time(), UTC)
        return Span(int(midnight.timestamp()) * SECOND_US)
    return Span(hours_us=(_of_day(constraint.start_time), _of_day(constraint.end_time)))


def _of_day(at: time) -> int:
    """Microseconds since midnight of UTC."""
    shift = at.utcoffset()
    seconds = at.hour * 3600 + at.minute * 60 + at.second - (int(shift.total_seconds()) if shift else 0)
    return seconds % 86_400 * SECOND_US


def _pattern(clause: "types.MatchLogic") -> str:
    """The clause as a regular expression that is searched for in a name in small letters."""
    from genai_prices import types

    match clause:
        case types.ClauseEquals(equals=text):
            return rf"\A{re.escape(text.lower())}\Z"
        case types.ClauseStartsWith(starts_with=text):
            return rf"\A{re.escape(text.lower())}"
        case types.ClauseEndsWith(ends_with=text):
            return rf"{re.escape(text.lower())}\Z"
        case types.ClauseContains(contains=text):
            return re.escape(text.lower())
        case types.ClauseRegex(regex=regex):
            return f"(?:{regex})"
        case types.ClauseOr(or_=clauses):
            return "|".join(f"(?:{_pattern(each)})" for each in clauses)
        case types.ClauseAnd(and_=clauses):
            return r"\A" + "".join(rf"(?=(?s:.*?)(?:{_pattern(each)}))" for each in clauses)
    raise NoTable("this version of genai-prices names models in a new way; install an older one")
