"""What a policy says before anything is checked against the model: values, their places, and problems."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from metergate.config.problems import Problem, Where, sentence

DEPTH_MAX = 32
VALUES_MAX = 100_000


class Place(NamedTuple):
    line: int
    column: int


@dataclass(slots=True)
class Source:
    """What a policy says before anything is checked against the model."""

    name: str
    value: object = None
    places: dict[Where, Place] = field(default_factory=dict)
    keys: dict[Where, Place] = field(default_factory=dict)
    holes: dict[Where, str] = field(default_factory=dict)
    """The text as it stands in the file, of values that come from the environment."""
    problems: list[Problem] = field(default_factory=list)
    words: dict[Where, str] = field(default_factory=dict)
    """Complaints about single words; what the model says of the same value says it better."""
    unfilled: set[Where] = field(default_factory=set)
    complained: set[Where] = field(default_factory=set)

    def complain(
        self, where: Where, text: str, *, name: str = "", at_key: bool = False, warning: bool = False
    ) -> None:
        """One problem at a value. `{}` in the text is the name it holds, as the file shows it."""
        where = self.there(where)
        if where in self.unfilled:
            return
        self.complained.add(where)
        shown = self.holes.get(where, f'"{name}"')
        place = self.place(where, at_key=at_key)
        text = sentence(where, text.replace("{}", shown))
        self.problems.append(Problem(self.name, *place, text, warning))

    def finished(self) -> list[Problem]:
        """Every problem, in the order of the file."""
        for where in self.words.keys() - self.complained:
            self.complain(where, self.words[where])
        return sorted(self.problems)

    def at(self, where: Where) -> object:
        """The value that stands there, or None."""
        found: Any = self.value
        for part in where:
            try:
                found = found[part]
            except (LookupError, TypeError):
                return None
        return found

    def there(self, where: Where) -> Where:
        """The way without steps that the file does not hold: a list may be written as its only item."""
        found: Where = ()
        for part in where:
            if (*found, part) in self.places:
                found = (*found, part)
        return found

    def place(self, where: Where, *, at_key: bool = False) -> Place:
        """Where a value, or its key, stands in the file."""
        found = self.keys.get(where) if at_key else None
        return found or self.places[where]
