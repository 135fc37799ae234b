"""The bytes of a file -> nodes with their places.

The events of the parser are put together here and not by PyYAML's composer, because only so are depth and
size bounded before anything is built.
"""

import re
from dataclasses import dataclass, field

import yaml

from metergate.config.problems import PolicyError, Problem
from metergate.config.source import DEPTH_MAX, VALUES_MAX, Place

BYTES_MAX = 1 << 20

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_CONTROL = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


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


def read(data: bytes, name: str) -> Node | None:
    """The tree of the one document in the file; None when there is none."""
    return _compose(_decoded(data, name), name)


def fatal(name: str, line: int, column: int, message: str) -> PolicyError:
    return PolicyError([Problem(name, line, column, message)])


def _decoded(data: bytes, name: str) -> str:
    if len(data) > BYTES_MAX:
        raise fatal(name, 1, 1, f"the file is larger than {BYTES_MAX >> 20} MiB; split or shorten it")
    try:
        text = data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8")
        raise fatal(name, *_position(before, len(before)), "save the file as UTF-8") from None
    control = _CONTROL.search(text)
    if control:
        place = _position(text, control.start())
        raise fatal(name, *place, f"remove the control character U+{ord(control[0]):04X}")
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
            raise fatal(name, line, column, "indent with spaces; a tab stands here") from None
        wrong = ", ".join(filter(None, (error.context, error.problem)))
        raise fatal(name, line, column, f"this is not valid YAML: {wrong}") from None
    except yaml.YAMLError:
        raise fatal(name, 1, 1, "this is not valid YAML") from None


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
        return fatal(self.name, *place, message)
