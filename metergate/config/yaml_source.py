"""YAML text -> plain values and the line and column of each, with a complaint for every trap of the format.

The events of the parser are put together here and not by PyYAML's composer, because only so are depth, size
and the growth through aliases bounded, and every value keeps its place.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import yaml

from metergate.config import interpolate, scalars
from metergate.config.interpolate import Hidden
from metergate.config.problems import PolicyError, Problem, Where, sentence

BYTES_MAX = 1 << 20
DEPTH_MAX = 32
VALUES_MAX = 100_000

WORDS: Mapping[Where, frozenset[str]] = {("billing",): frozenset({"off"}), ("fsync",): frozenset({"no"})}
"""Where a word that YAML 1.1 takes for a boolean is one of the values to choose from."""

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_CONTROL = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Place(NamedTuple):
    line: int
    column: int


@dataclass(slots=True)
class Scalar:
    place: Place
    text: str
    plain: bool


@dataclass(slots=True)
class Branch:
    """A list, or a mapping whose keys and values alternate."""

    place: Place
    mapping: bool
    anchor: str | None
    children: list["Node"] = field(default_factory=list)


Node = Scalar | Branch


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


def read(data: bytes, name: str, environ: Mapping[str, str]) -> Source:
    """The values of a file. What cannot be read at all is a PolicyError; the rest is kept as problems."""
    text = _decoded(data, name)
    root = _compose(text, name)
    source = Source(name)
    _Reader(source, environ).read(root)
    return source


def _fatal(name: str, line: int, column: int, message: str) -> PolicyError:
    return PolicyError([Problem(name, line, column, message)])


def _decoded(data: bytes, name: str) -> str:
    if len(data) > BYTES_MAX:
        raise _fatal(name, 1, 1, f"the file is larger than {BYTES_MAX >> 20} MiB; split or shorten it")
    try:
        text = data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8")
        raise _fatal(name, *_position(before, len(before)), "save the file as UTF-8") from None
    control = _CONTROL.search(text)
    if control:
        place = _position(text, control.start())
        raise _fatal(name, *place, f"remove the control character U+{ord(control[0]):04X}")
    return text


def _position(text: str, index: int) -> Place:
    start = text.rfind("\n", 0, index) + 1
    return Place(text.count("\n", 0, index) + 1, index - start + 1)


def _compose(text: str, name: str) -> Node | None:
    """The tree of the one document in the text."""
    try:
        return _Composer(name).compose(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        column = mark.column + 1 if mark else 1
        lines = text.splitlines()
        rest = lines[line - 1][column - 1 :] if line <= len(lines) else ""
        if rest.startswith("\t") or "tab character" in str(error.problem):
            raise _fatal(name, line, column, "indent with spaces; a tab stands here") from None
        wrong = ", ".join(filter(None, (error.context, error.problem)))
        raise _fatal(name, line, column, f"this is not valid YAML: {wrong}") from None
    except yaml.YAMLError:
        raise _fatal(name, 1, 1, "this is not valid YAML") from None


class _Composer:
    """Events -> nodes."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.anchors: dict[str, Node] = {}
        self.open: list[Branch] = []
        self.root: Node | None = None
        self.count = 0

    def compose(self, text: str) -> Node | None:
        documents = 0
        for event in yaml.parse(text, Loader=_LOADER):
            mark = event.start_mark
            assert mark is not None
            place = Place(mark.line + 1, mark.column + 1)
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise self.fatal(place, "keep one document in the file; a second one begins here")
            self.take(event, place)
        return self.root

    def take(self, event: yaml.Event, place: Place) -> None:
        if isinstance(event, yaml.NodeEvent):
            self.count += 1
            if self.count > VALUES_MAX:
                raise self.fatal(place, f"the file holds more than {VALUES_MAX} values; shorten it")
            self.check_tag(event, place)
        if isinstance(event, yaml.ScalarEvent):
            plain = event.style is None or event.style == ""
            self.add(Scalar(place, event.value, plain), event.anchor)
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in self.anchors:
                raise self.fatal(place, f"no anchor &{event.anchor} is complete before this alias")
            self.add(self.anchors[event.anchor], None)
        elif isinstance(event, yaml.CollectionStartEvent):
            if len(self.open) >= DEPTH_MAX:
                raise self.fatal(place, f"values are nested deeper than {DEPTH_MAX} levels")
            self.open.append(Branch(place, isinstance(event, yaml.MappingStartEvent), event.anchor))
        elif isinstance(event, yaml.CollectionEndEvent):
            done = self.open.pop()
            self.add(done, done.anchor)

    def check_tag(self, event: yaml.NodeEvent, place: Place) -> None:
        tag = getattr(event, "tag", None)
        if tag:
            raise self.fatal(place, "remove the tag; quotes make a text of anything")

    def add(self, node: Node, anchor: str | None) -> None:
        if anchor:
            self.anchors[anchor] = node
        if self.open:
            self.open[-1].children.append(node)
        else:
            self.root = node

    def fatal(self, place: Place, message: str) -> PolicyError:
        return _fatal(self.name, *place, message)


class _Reader:
    """Nodes -> values, places and problems. What aliases stand for is counted each time it is used."""

    def __init__(self, source: Source, environ: Mapping[str, str]) -> None:
        self.source = source
        self.environ = environ
        self.count = 0

    def read(self, root: Node | None) -> None:
        self.source.places[()] = Place(1, 1)
        self.source.value = None if root is None else self.value(root, ())

    def value(self, node: Node, where: Where) -> object:
        self.spend(node, len(where))
        self.source.places.setdefault(where, node.place)
        if isinstance(node, Scalar):
            return self.scalar(node, where)
        if not node.mapping:
            return [self.value(child, (*where, index)) for index, child in enumerate(node.children)]
        found: dict[str, object] = {}
        for key, child in self.pairs(node, where, 0):
            found[key] = self.value(child, (*where, key))
        return found

    def spend(self, node: Node, depth: int) -> None:
        self.count += 1
        if self.count > VALUES_MAX or depth > DEPTH_MAX:
            place = node.place
            raise _fatal(
                self.source.name, *place, "aliases make the file too large here; write it with fewer"
            )

    def scalar(self, node: Scalar, where: Where) -> object:
        text = node.text
        if "$" in text:
            return self.filled(node, where)
        if not node.plain or text in WORDS.get(where, ()):
            return text
        try:
            return scalars.value(text)
        except scalars.AmbiguousError as problem:
            # The text stands in for what was meant, so that one mistake is one line.
            self.source.words[where] = str(problem)
            return text

    def filled(self, node: Scalar, where: Where) -> str:
        holes = interpolate.has_holes(node.text)
        if holes:
            self.source.holes[where] = node.text
        try:
            text = interpolate.fill(node.text, self.environ)
        except interpolate.MissingError as problem:
            self.source.complain(where, str(problem))
            self.source.unfilled.add(where)
            return Hidden(node.text)
        return Hidden(text) if holes else text

    def pairs(self, node: Branch, where: Where, depth: int) -> Iterator[tuple[str, Node]]:
        """The keys of a mapping with their values, its own before those it merges."""
        seen: dict[str, int] = {}
        merged: list[Node] = []
        for key, child in zip(node.children[::2], node.children[1::2], strict=True):
            if isinstance(key, Scalar) and key.plain and key.text == "<<":
                merged.append(child)
                continue
            name = self.key(key, where)
            if name is None:
                continue
            if name in seen:
                place = key.place
                text = sentence((*where, name), f"this key is given twice, first on line {seen[name]}")
                self.source.problems.append(Problem(self.source.name, *place, text))
                continue
            seen[name] = key.place.line
            self.source.keys.setdefault((*where, name), key.place)
            yield name, child
        for child in merged:
            for name, value in self.merged(child, where, depth):
                if name not in seen:
                    seen[name] = value.place.line
                    yield name, value

    def merged(self, node: Node, where: Where, depth: int) -> Iterator[tuple[str, Node]]:
        listed = isinstance(node, Branch) and not node.mapping
        for child in node.children if isinstance(node, Branch) and listed else [node]:
            self.spend(child, len(where) + depth)
            if isinstance(child, Branch) and child.mapping:
                yield from self.pairs(child, where, depth + 1)
            else:
                text = sentence(where, "merge an alias of a mapping: <<: *name")
                self.source.problems.append(Problem(self.source.name, *child.place, text))

    def key(self, node: Node, where: Where) -> str | None:
        self.spend(node, len(where))
        if isinstance(node, Scalar):
            try:
                if not node.plain or isinstance(scalars.value(node.text), str):
                    return node.text
            except scalars.AmbiguousError:
                pass
            message = f'put the key in quotes: "{node.text[:40]}"'
        else:
            message = "use a text as the key"
        self.source.problems.append(Problem(self.source.name, *node.place, sentence(where, message)))
        return None
