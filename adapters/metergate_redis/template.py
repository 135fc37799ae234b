"""What the holds of one caller on one route have in common, as the scripts read it; made once."""

import msgspec

from metergate.core.budget import RATE, Draw
from metergate.errors import InvalidInput
from metergate.ports import Hold

REMEMBERED = 65_536
LARGE = 4 * 10**15

encode = msgspec.json.Encoder().encode


class Template:
    __slots__ = ("account", "draws", "generation", "terms", "text")

    def __init__(
        self, tag: str, account: str, generation: int, draws: tuple[Draw, ...], terms: bytes
    ) -> None:
        self.account = account
        self.generation = generation
        self.draws = draws
        self.terms = terms
        self.text = encode([str(generation), account, [_draw(tag, draw) for draw in draws]])


def _draw(tag: str, draw: Draw) -> tuple[int | str, ...]:
    kind, name, amount, low, high, until_us, _ = draw
    # The product is made here, where integers have no end.
    low = low * amount if kind == RATE else low
    return kind, f"{tag}b:{name}", integer(amount), integer(low), integer(high), until_us


def integer(value: int) -> int | str:
    """As the scripts take it: a number only where sums of two are exact as doubles."""
    return value if -LARGE < value < LARGE else str(value)


def one_line(text: str) -> str:
    if "\n" in text:
        raise InvalidInput("An id that is sent to the counter store may not contain a line break.")
    return text


class Templates:
    def __init__(self, tag: str) -> None:
        self._tag = tag
        self._known: dict[bytes, Template] = {}

    def of(self, hold: Hold) -> Template:
        """Calls of one caller on one route share their terms, as bytes that are one object."""
        _, account, generation, draws, _, terms, _, _, _ = hold
        known = self._known.get(terms)
        if (
            known is not None
            and known.draws is draws
            and known.generation == generation
            and known.account == account
        ):
            return known
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        made = self._known[terms] = Template(self._tag, account, generation, draws, terms)
        return made
