"""YAML -> plain values and the line and column of each, with a complaint for every trap of the format."""

from collections.abc import Iterator, Mapping

from metergate.config import interpolate, scalars, yaml_nodes
from metergate.config.interpolate import Hidden
from metergate.config.problems import Problem, Where, sentence
from metergate.config.source import DEPTH_MAX, VALUES_MAX, Place, Source
from metergate.config.yaml_nodes import Branch, Node, Scalar

WORDS: Mapping[Where, frozenset[str]] = {("billing",): frozenset({"off"}), ("fsync",): frozenset({"no"})}
"""Where a word that YAML 1.1 takes for a boolean is one of the values to choose from."""


def read(data: bytes, name: str, environ: Mapping[str, str]) -> Source:
    """The values of a file. What cannot be read at all is a PolicyError; the rest is kept as problems."""
    source = Source(name)
    _Reader(source, environ).read(yaml_nodes.read(data, name))
    return source


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
            raise yaml_nodes.fatal(
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
