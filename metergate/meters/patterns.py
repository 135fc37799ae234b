"""How long a regular expression may take, known before it is used.

Python's never gives up, and what it reads was written by others. So a pattern may repeat single characters
only, few times without an end, and the more of that there is the less it is given to read.
"""

import re
import re._constants as ops  # type: ignore[import-not-found]  # the parser of the standard library has no types
import re._parser as parser  # type: ignore[import-not-found]  # as above
from collections.abc import Iterable, Iterator
from typing import Any, Final

READS: Final = {0: 65_536, 1: 65_536, 2: 8192, 3: 512}
"""So many bytes from the end are read by a pattern whose time grows with this power of them."""
FEW: Final = 64
"""A repetition of at most so many is one with an end."""
WAYS_MAX: Final = 1000

_REPEATS = frozenset({ops.MAX_REPEAT, ops.MIN_REPEAT, ops.POSSESSIVE_REPEAT})
_SINGLE = frozenset({ops.LITERAL, ops.NOT_LITERAL, ops.ANY, ops.IN})
_CLASSES: Final = {
    ops.CATEGORY_DIGIT: rb"\d", ops.CATEGORY_NOT_DIGIT: rb"\D", ops.CATEGORY_SPACE: rb"\s",
    ops.CATEGORY_NOT_SPACE: rb"\S", ops.CATEGORY_WORD: rb"\w", ops.CATEGORY_NOT_WORD: rb"\W",
}  # fmt: skip

Node = tuple[Any, Any]


def reads(pattern: str) -> int:
    """How many bytes from the end the pattern may be given; ValueError where it could take for ever."""
    parsed = parser.parse(pattern.encode())
    endless, ways = 0, 1
    for repeated, most in _repeats(parsed):
        if most <= FEW:
            ways *= max(most, 1)
        elif len(repeated) == 1 and repeated[0][0] in _SINGLE:
            endless += 1
        else:
            raise ValueError(
                "Repeat single characters only, such as [0-9]+; a repeated group can take for ever."
            )
    power = endless if _begins_apart(parsed) else endless + 1
    if ways > WAYS_MAX or power not in READS:
        raise ValueError("Write fewer repetitions; this regular expression could take for ever.")
    return READS[power]


def _repeats(nodes: Iterable[Node]) -> Iterator[tuple[list[Node], int]]:
    """Every repetition: what is repeated, and how often at most."""
    for op, told in nodes:
        if op in _REPEATS:
            _, most, repeated = told
            inner = list(_repeats(repeated))
            if inner and most > 1 and any(each > 1 for _, each in inner):
                yield [], ops.MAXREPEAT  # a repetition of repetitions
            yield from inner
            if not (inner and most == 1):
                yield list(repeated), int(most)
        else:
            for part in _parts(op, told):
                yield from _repeats(part)


def _parts(op: Any, told: Any) -> Iterable[Iterable[Node]]:
    """What stands inside of a group, a branch or a look around."""
    if op is ops.BRANCH:
        return list(told[1])
    if op is ops.SUBPATTERN:
        return [told[3]]
    if op is ops.ATOMIC_GROUP:
        return [told]
    if op in (ops.ASSERT, ops.ASSERT_NOT):
        return [told[1]]
    if op in (ops.GROUPREF, ops.GROUPREF_EXISTS):
        raise ValueError("Write a regular expression without references to its own groups.")
    return []


def _begins_apart(parsed: Iterable[Node]) -> bool:
    """Whether it begins with a character that none of its endless repetitions reads over.

    Then no text is read twice by tries that begin at different places.
    """
    nodes = list(parsed)
    if not nodes or nodes[0][0] is not ops.LITERAL:
        return False
    first = chr(nodes[0][1])
    letters = [ord(letter) for letter in (first.lower(), first.upper())]  # as if it were told to ignore case
    endless = [repeated for repeated, most in _repeats(nodes) if most > FEW]
    return not any(len(each) != 1 or any(_matches(each[0], letter) for letter in letters) for each in endless)


def _matches(node: Node, letter: int) -> bool:
    """Whether a single character, or a class of them, is or holds the letter."""
    op, told = node
    if op is ops.IN:
        negated = bool(told) and told[0][0] is ops.NEGATE
        return negated != any(_matches(each, letter) for each in told)
    if op is ops.LITERAL:
        return bool(told == letter)
    if op is ops.NOT_LITERAL:
        return bool(told != letter)
    if op is ops.RANGE:
        return bool(told[0] <= letter <= told[1])
    if op is ops.CATEGORY:
        kind = _CLASSES.get(told)
        return kind is None or re.match(kind, bytes([letter])) is not None
    return op is not ops.NEGATE
