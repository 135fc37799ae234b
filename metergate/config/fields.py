"""The types of the fields of a policy: how a text becomes an exact number, and what the JSON Schema says.

Messages never repeat the value: it may have come from the environment and be a secret.
"""

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
)

from metergate.config.interpolate import Hidden
from metergate.core import money, periods, price

FROM_ENVIRONMENT = {"type": "string", "pattern": r"\$\{.+\}"}
"""Any value may also come from the environment."""


class Part(BaseModel):
    """A mapping of the file: only the keys it knows."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


def listed(value: object) -> object:
    """A list may be written as its only item."""
    return [value] if isinstance(value, dict) else value


def spelled_out(key: str) -> Callable[[object], object]:
    """A mapping may be written as the value of one of its keys."""

    def spell(value: object) -> object:
        short = isinstance(value, int | str) and not isinstance(value, bool)
        return {key: value} if short else value

    return spell


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("write a text, in quotes where it looks like a number")
    return value


def _money(value: object) -> int:
    """Nanos: from a decimal string, or from a whole number, which is exact as well."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    try:
        nanos = money.parse(text) if isinstance(text, str) else -1
    except money.MoneyError:
        nanos = -1
    if nanos < 0:
        raise ValueError('write an amount as text with up to 9 decimals, such as "5.00"')
    return nanos


def _price(value: object) -> str:
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    try:
        price.Rate.parse(text if isinstance(text, str) else "")
    except money.MoneyError:
        raise ValueError('write a price as text with up to 18 decimals, such as "0.002"') from None
    return str(text)


def _multiplier(value: object) -> tuple[int, int]:
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    try:
        return price.multiply(text if isinstance(text, str) else "")
    except money.MoneyError:
        raise ValueError('write a multiplier as text, such as "1.25"') from None


def _units(value: object) -> int:
    try:
        return money.units(value)
    except money.MoneyError:
        raise ValueError(f"write a whole number from 0 to {money.UNITS_MAX}") from None


def _positive(value: object) -> int:
    try:
        count = money.units(value)
    except money.MoneyError:
        count = 0
    if count < 1:
        raise ValueError("write a whole number of at least 1")
    return count


def _above_zero(nanos: int) -> int:
    if nanos < 1:
        raise ValueError("write an amount above zero")
    return nanos


def _duration(value: object) -> int:
    try:
        length = periods.duration_us(_text(value))
    except ValueError:
        length = 0
    if length < 1:
        raise ValueError("write a duration as a number and s, m, h, d or w, such as 30s or 24h")
    return length


def _version(value: object) -> object:
    # True equals 1 for Python, and is no version.
    if isinstance(value, bool) or value != 1:
        raise ValueError("write metergate: 1, the version of this format")
    return value


def _flag(value: object) -> bool:
    # A text only where it came from the environment: the file's own words are read already.
    flags = {True: True, False: False, "true": True, "false": False}
    if isinstance(value, bool | str) and value in flags:
        return flags[value]
    raise ValueError("write true or false")


def _zone(value: object) -> str:
    try:
        periods.window("day", 0, _text(value))
    except ValueError:
        raise ValueError("write a time zone of the IANA database, such as UTC or Europe/Berlin") from None
    return _text(value)


def _currency(value: object) -> str:
    try:
        money.exponent(_text(value))
    except money.MoneyError:
        raise ValueError("write an ISO 4217 currency code in capitals, such as USD") from None
    return _text(value)


def _web_address(value: object) -> str:
    text = _text(value)
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or re.search(r"\s", text):
        raise ValueError("write an address that begins with https:// or http:// and names a host")
    return text


def _matching(pattern: str, message: str) -> Callable[[object], str]:
    regex = re.compile(pattern)

    def check(value: object) -> str:
        if not isinstance(value, str) or not regex.fullmatch(value):
            raise ValueError(message)
        return value

    return check


def _schema(*forms: Mapping[str, object]) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": [*forms, FROM_ENVIRONMENT]})


_INTEGER = {"type": "integer", "minimum": 0, "maximum": money.UNITS_MAX}
_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"
_HEADER = r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}"


def _decimal(decimals: int) -> Mapping[str, object]:
    return {"type": "string", "pattern": rf"^[0-9]+(\.[0-9]{{1,{decimals}}})?$"}


Money = Annotated[int, BeforeValidator(_money), _schema(_decimal(9), _INTEGER)]
PositiveMoney = Annotated[Money, AfterValidator(_above_zero)]
PriceText = Annotated[str, BeforeValidator(_price), _schema(_decimal(18), _INTEGER)]
Multiplier = Annotated[tuple[int, int], BeforeValidator(_multiplier), _schema(_decimal(18), _INTEGER)]
Units = Annotated[int, BeforeValidator(_units), _schema(_INTEGER)]
Positive = Annotated[int, BeforeValidator(_positive), _schema({**_INTEGER, "minimum": 1})]
Duration = Annotated[
    int, BeforeValidator(_duration), _schema({"type": "string", "pattern": "^[0-9]{1,12}[smhdw]$"})
]
Flag = Annotated[bool, BeforeValidator(_flag), _schema({"type": "boolean"})]
Zone = Annotated[str, BeforeValidator(_zone), WithJsonSchema({"type": "string"})]
Currency = Annotated[str, BeforeValidator(_currency), _schema({"type": "string", "pattern": "^[A-Z]{3}$"})]
Text = Annotated[str, BeforeValidator(_text), AfterValidator(Hidden), WithJsonSchema({"type": "string"})]
"""Free text; it may hold a secret and does not show in a repr."""
WebAddress = Annotated[
    str, BeforeValidator(_web_address), AfterValidator(Hidden), WithJsonSchema({"type": "string"})
]
Address = Annotated[
    str,
    BeforeValidator(_matching(r"0x\S{1,80}", "write an address that begins with 0x")),
    WithJsonSchema({"type": "string"}),
]
Link = Annotated[
    str,
    BeforeValidator(
        lambda value: (
            value
            if isinstance(value, str) and re.fullmatch(r"(?:/[^/\s]\S*)?|/", value)
            else _web_address(value)
        )
    ),
    WithJsonSchema({"type": "string"}),
]
"""A web address, or a path of the same host."""
Name = Annotated[
    str,
    BeforeValidator(
        _matching(
            _NAME, "write a name of up to 64 letters, digits, _, - or ., beginning with a letter or digit"
        )
    ),
    WithJsonSchema({"type": "string", "pattern": f"^{_NAME}$"}),
]
Header = Annotated[
    str,
    BeforeValidator(_matching(_HEADER, "write the name of an HTTP header")),
    WithJsonSchema({"type": "string", "pattern": f"^{_HEADER}$"}),
]
Word = Annotated[
    str,
    BeforeValidator(_matching("[a-z][a-z0-9_]{0,31}", "write a word of small letters, digits and _")),
    WithJsonSchema({"type": "string", "pattern": "^[a-z][a-z0-9_]{0,31}$"}),
]
Prefix = Annotated[
    str,
    BeforeValidator(
        _matching(
            "off|(?:/[A-Za-z0-9_~.-]+)+", "write a path such as /billing without a slash at the end, or off"
        )
    ),
    # The validator that stands last is asked first.
    BeforeValidator(lambda value: "off" if value is False else value),
    WithJsonSchema(
        {"anyOf": [{"type": "string", "pattern": "^(off|(/[A-Za-z0-9_~.-]+)+)$"}, {"const": False}]}
    ),
]

FormatVersion = Annotated[Literal[1], BeforeValidator(_version)]
Period = Literal["day", "week", "month", "year"]
Scope = Annotated[
    Literal["account", "key", "plan"],
    Field(description="Who shares it: all keys of an account, one key, or everybody on the plan."),
]
