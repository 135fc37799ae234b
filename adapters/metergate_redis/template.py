"""What the holds of one caller on one route have in common, as the scripts read it; made once."""

from collections.abc import Sequence

import hiredis
import msgspec

from metergate.core.budget import RATE, Draw
from metergate.errors import InvalidInput

REMEMBERED = 65_536
LARGE = 4 * 10**15

encode = msgspec.json.Encoder().encode


class Template:
    __slots__ = ("account", "draws", "generation", "packed", "parts")

    def __init__(
        self, tag: str, account: str, generation: int, draws: tuple[Draw, ...], terms: bytes
    ) -> None:
        self.account = account
        self.generation = generation
        self.draws = draws
        flat = [part for draw in draws for part in _draw(tag, draw)]
        remembered = encode((*flat, account)) + b"\n" + terms
        parts = (generation, f"{tag}g:{account}", remembered, len(draws), *flat)
        self.parts = len(parts)
        self.packed = pack(parts)


def _draw(tag: str, draw: Draw) -> tuple[int | str, ...]:
    kind, name, amount, low, high, until_us, _ = draw
    # The product is made here, where integers have no end.
    low = low * amount if kind == RATE else low
    return kind, f"{tag}b:{name}", integer(amount), integer(low), integer(high), until_us


def pack(parts: Sequence[bytes | str | int]) -> bytes:
    """Arguments of a command as they are sent, without their number in front."""
    packed: bytes = hiredis.pack_command(tuple(parts))  # type: ignore[arg-type]  # it takes tuples of any length
    return packed[packed.index(b"\n") + 1 :]


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

    def of(self, account: str, generation: int, draws: tuple[Draw, ...], terms: bytes) -> Template:
        """Calls of one caller on one route share their terms, as bytes that are one object."""
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
