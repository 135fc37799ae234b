"""What an unquoted word of a policy file means.

YAML 1.1 turns `no` into false, `0123` into 83 and `1:30` into 90, and PyYAML follows it silently. Here a word
means what it looks like, or it is an error that says how to write what was meant.
"""

import re
from collections.abc import Mapping

Value = str | int | bool | None

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOL: Mapping[str, bool] = {
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
}
_YES_NO = re.compile(r"(?i:y|n|yes|no|on|off)")
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*(?:_[0-9]+)*)")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9_]+")
_OTHER_BASE = re.compile(r"[-+]?0[xXoObB][0-9a-fA-F_]+")
_SEXAGESIMAL = re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?")
_FLOAT = re.compile(r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*|[0-9][0-9_]*(?=[eE]))(?:[eE][-+]?[0-9]+)?")
_SPECIAL_FLOAT = re.compile(r"(?i:[-+]?\.inf|\.nan)")

_DIGITS_MAX = 30


class AmbiguousError(ValueError):
    """A word that two readers of YAML understand differently."""


def value(text: str) -> Value:
    """The meaning of an unquoted word."""
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if _INTEGER.fullmatch(text):
        return _integer(text)
    complaint = _complaint(text)
    if complaint:
        raise AmbiguousError(complaint)
    return text


def _integer(text: str) -> int:
    if len(text) > _DIGITS_MAX:
        raise AmbiguousError(f"write a number of at most {_DIGITS_MAX} digits")
    return int(text)


def _complaint(text: str) -> str:
    shown = text if len(text) <= 40 else text[:40] + "…"
    if _YES_NO.fullmatch(text):
        return f'write true or false, or put the word in quotes: "{shown}"'
    if _FLOAT.fullmatch(text) or _SPECIAL_FLOAT.fullmatch(text):
        return f'put a number with decimals in quotes, so that it stays exact: "{shown}"'
    if _SEXAGESIMAL.fullmatch(text):
        return f'put it in quotes, YAML reads it as a number of base 60: "{shown}"'
    if _LEADING_ZERO.fullmatch(text):
        return f'write the number without leading zeros, or put the text in quotes: "{shown}"'
    if _OTHER_BASE.fullmatch(text):
        return f'write the number with decimal digits, or put the text in quotes: "{shown}"'
    return ""
