"""Whatever an operator or a client sends becomes a value here, or one sentence that says what is wanted.

Values arrive as JSON has them (text, whole numbers, true and false, lists, objects), from HTTP, from a socket
and from the command line alike. Nothing that fails here has changed anything.
"""

import json
import re
from collections.abc import Callable, Mapping
from ipaddress import ip_network
from typing import Final, TypeVar

from metergate.admin.errors import NotFound
from metergate.core import money, periods
from metergate.core.idempotency import check_key
from metergate.core.money import shown
from metergate.core.periods import Every
from metergate.core.policy import Plan, Policy
from metergate.errors import InvalidInput

T = TypeVar("T")
Dimensions = tuple[tuple[str, str], ...]

LIMIT: Final = 100
LIMIT_MAX: Final = 1000
METADATA_MAX: Final = 16 * 1024
PAIRS_MAX: Final = 32
SEQ_MAX: Final = 2**63 - 1

_ACCOUNT: Final = re.compile(r"[A-Za-z0-9_.@-]{1,64}")
_KID: Final = re.compile(r"[0-9A-Za-z]{1,32}")
_ID: Final = re.compile(r"[A-Za-z0-9_.:@/+=-]{1,128}")
_NAME: Final = re.compile(r"[A-Za-z0-9_.:*/-]{1,64}")
_SEQ: Final = re.compile(r"[0-9]{1,19}")


def text(value: object, what: str, longest: int = 200) -> str:
    """Text of one line; what could not be stored or shown again is refused."""
    if not isinstance(value, str) or len(value) > longest or not all(map(_plain, value)):
        raise InvalidInput(
            f"Give {what} as plain text of at most {longest} characters in one line, not {shown(value)}."
        )
    return value


def _plain(letter: str) -> bool:
    return letter >= " " and not "\x7f" <= letter < "\xa0" and not "\ud800" <= letter <= "\udfff"


def flag(value: object, what: str) -> bool:
    if not isinstance(value, bool):
        raise InvalidInput(f"Give {what} as true or false, not {shown(value)}.")
    return value


def payment_token(value: object, what: str) -> str:
    """What stands for a card at a provider. The number of one is refused, and not even repeated."""
    if isinstance(value, str) and _is_card(value):
        raise InvalidInput(
            f"Send no card number: {what} is what the provider's own page or script made of it."
        )
    return ident(value, what)


def _is_card(text: str) -> bool:
    """Whether it has the form and the check digit of a card number."""
    digits = text.replace(" ", "").replace("-", "")
    if not (digits.isascii() and digits.isdigit() and 12 <= len(digits) <= 19):
        return False
    doubled = [int(each) * 2 for each in digits[-2::-2]]
    return (sum(map(int, digits[-1::-2])) + sum(each - 9 * (each > 9) for each in doubled)) % 10 == 0


def account_id(value: object) -> str:
    return _matching(_ACCOUNT, value, "an account id of 1 to 64 letters, digits, _ . @ or -")


def kid(value: object) -> str:
    return _matching(_KID, value, "the kid of a key, the 10 letters and digits in its middle")


def ident(value: object, what: str) -> str:
    return _matching(_ID, value, f"{what} of 1 to 128 letters, digits or _ . : @ / + = -")


def name(value: object, what: str) -> str:
    return _matching(_NAME, value, f"{what} of 1 to 64 letters, digits or _ . : * / -")


def _matching(pattern: re.Pattern[str], value: object, wanted: str) -> str:
    found = money.whole_match(pattern, value)
    if found is None:
        raise InvalidInput(f"Use {wanted}, not {shown(value)}.")
    return found[0]


def sentence(work: Callable[[], T]) -> T:
    """The core says what is wrong with a number or a time in a sentence; it reaches the client as it is."""
    try:
        return work()
    except ValueError as error:
        raise InvalidInput(str(error)) from None


def amount(value: object, what: str) -> int:
    """Nanos above zero, from a decimal string."""
    nanos = sentence(lambda: money.parse(value))  # type: ignore[arg-type]  # what is no text is refused there
    if nanos <= 0:
        raise InvalidInput(f"Give {what} above zero, not {shown(value)}.")
    return nanos


def change(value: object) -> int:
    """Nanos other than zero, from a decimal string that may begin with a minus."""
    if isinstance(value, str) and value.startswith("-"):
        return -amount(value[1:], "an amount")
    return amount(value, "an amount")


def cost(value: object) -> int:
    """Nanos of zero or more, from a decimal string."""
    nanos = sentence(lambda: money.parse(value))  # type: ignore[arg-type]  # as above
    if nanos < 0:
        raise InvalidInput(
            f"Give a cost of zero or more, not {shown(value)}: give credits back with a grant."
        )
    if nanos > money.COST_MAX:
        raise InvalidInput(f"Give a cost of at most {money.plain(money.COST_MAX)}, not {shown(value)}.")
    return nanos


def units(value: object) -> int:
    return sentence(lambda: money.units(value))


def time(value: object) -> int:
    """An instant since 1970, from RFC 3339 text."""
    at_us = sentence(lambda: periods.parse_time(value))  # type: ignore[arg-type]  # what is no text is refused there
    if at_us < 0:
        raise InvalidInput("Use a time after 1970.")
    return at_us


def duration(value: object) -> int:
    return 0 if value == "0" else sentence(lambda: periods.duration_us(value))  # type: ignore[arg-type]  # as above


def ending(value: object, now_us: int) -> int:
    """When something ends: a time, or how long from now."""
    if isinstance(value, str) and value[-1:] in tuple("smhdw"):
        at_us = now_us + duration(value)
        sentence(lambda: periods.rfc3339(at_us))
        return at_us
    return time(value)


def later(value: object, now_us: int, what: str) -> int:
    at_us = ending(value, now_us)
    if at_us <= now_us:
        raise InvalidInput(f"Let {what} expire later than now, not at {shown(value)}.")
    return at_us


def every(value: object) -> Every:
    if value not in periods.PERIODS:
        raise InvalidInput(f"Use a period of {', '.join(periods.PERIODS)}, not {shown(value)}.")
    return next(period for period in periods.PERIODS if period == value)


def scopes(value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or len(value) > PAIRS_MAX:
        raise InvalidInput(f"Give scopes as a list of at most {PAIRS_MAX} names, not {shown(value)}.")
    return tuple(dict.fromkeys(name(each, "a scope") for each in value))


def networks(value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or len(value) > PAIRS_MAX:
        raise InvalidInput(f"Give networks as a list of at most {PAIRS_MAX}, not {shown(value)}.")
    return tuple(dict.fromkeys(map(_network, value)))


def _network(value: object) -> str:
    try:
        return str(ip_network(value if isinstance(value, str) else ""))
    except ValueError:
        raise InvalidInput(
            f"Give a network as an address or a range, such as 192.0.2.0/24, not {shown(value)}."
        ) from None


def dimensions(value: object) -> Dimensions:
    if not isinstance(value, Mapping) or len(value) > PAIRS_MAX:
        raise InvalidInput(f"Give dimensions as an object of at most {PAIRS_MAX} texts, not {shown(value)}.")
    pairs = [
        (name(key, "a dimension"), text(each, f"the dimension {shown(key)}")) for key, each in value.items()
    ]
    return tuple(sorted(pairs))


def metadata(value: object) -> Mapping[str, object]:
    """Free data of the operator's, small enough to be read with every account."""
    wanted = f"Give metadata as a JSON object of at most {METADATA_MAX // 1024} kB"
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise InvalidInput(f"{wanted}, not {shown(value)}.")
    try:
        written = json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError):
        raise InvalidInput(f"{wanted}, of plain values.") from None
    if len(written) > METADATA_MAX:
        raise InvalidInput(f"{wanted}.")
    return value


def plan(value: object, policy: Policy) -> Plan:
    id = name(value, "a plan")
    if id not in policy.plans:
        known = ", ".join(sorted(policy.plans)) or "none yet"
        raise InvalidInput(f"There is no plan {shown(id)} in the policy; its plans are {known:.400}.")
    return policy.plans[id]


def plan_of_path(value: object, policy: Policy) -> Plan:
    try:
        return plan(value, policy)
    except InvalidInput as error:
        raise NotFound(str(error)) from None


def idempotency_key(value: object) -> str:
    if not isinstance(value, str):
        raise InvalidInput(f"Give the idempotency key as text, not {shown(value)}.")
    problem = check_key(value)
    if problem is not None:
        raise InvalidInput(problem, reason="bad_idempotency_key")
    return value


def limit(value: object) -> int:
    """How many rows a page may have."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,4}", value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= LIMIT_MAX:
        raise InvalidInput(f"Give limit as a whole number from 1 to {LIMIT_MAX}, not {shown(value)}.")
    return value


def seq(value: object) -> int:
    """The place that an earlier page ended at; empty for the first page."""
    if value == "":
        return 0
    if isinstance(value, str) and _SEQ.fullmatch(value) and 0 < int(value) <= SEQ_MAX:
        return int(value)
    raise InvalidInput(f"Give after as the earlier page gave it, not {shown(value)}.")


def after(value: object) -> str:
    """The id that an earlier page ended at; empty for the first page."""
    if value == "" or (isinstance(value, str) and _ACCOUNT.fullmatch(value)):
        return value
    raise InvalidInput(f"Give after as the earlier page gave it, not {shown(value)}.")
