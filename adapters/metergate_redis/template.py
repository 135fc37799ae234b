"""What the holds of one caller on one route have in common, as the scripts read it; made once."""

from metergate.core.budget import RATE, Draw
from metergate.errors import InvalidInput
from metergate.ports import Hold

REMEMBERED = 65_536


class Template:
    __slots__ = ("account", "draws", "generation", "terms", "text")

    def __init__(self, account: str, generation: int, draws: tuple[Draw, ...], terms: bytes) -> None:
        self.account = account
        self.generation = generation
        self.draws = draws
        self.terms = terms
        self.text = f"{generation} {one_line(account)}\n{''.join(map(_line, draws))}"


def _line(draw: Draw) -> str:
    kind, name, amount, low, high, until_us, _ = draw
    # The product is made here, where integers have no end.
    low = low * amount if kind == RATE else low
    return f"{kind} {amount} {low} {high} {until_us} {one_line(name)}\n"


def one_line(text: str) -> str:
    if "\n" in text:
        raise InvalidInput("An id that is sent to the counter store may not contain a line break.")
    return text


class Templates:
    def __init__(self) -> None:
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
        made = self._known[terms] = Template(account, generation, draws, terms)
        return made
