"""Whatever makes no sense is refused with one sentence, and nothing has changed."""

import math
from collections.abc import Sequence

import pytest

from metergate.admin import VERBS
from metergate.errors import InvalidInput
from tests.admin.bench import Bench

BAD_AMOUNTS = [
    "", " ", "0", "0.00", "-1", "-0.000000001", "+1", "1.", ".5", "1e3", "1E-3", "NaN", "nan", "inf",
    "Infinity", "0x10", "1,000", "1_000", "1 000", " 1", "1\n", "1.0000000001", "9223372036.854775808",
    "99999999999999999999", "9" * 5000, "١٢", "１", "½", "one", "$1", "1USD", 1, 0, -1, 1.0, 0.1, math.nan,
    math.inf, True, False, None, [], ["1"], {}, {"amount": "1"},
]  # fmt: skip
BAD_UNITS = [
    "", " ", "-1", "+1", "1.0", "1.", "1e3", "NaN", "inf", "0x10", "1,000", "1_000", " 1", "1\n",
    "9007199254740992", "9" * 5000, "١٢", "１", "½", "one", -1, 1.0, 0.5, 2**53, 2**64, 10**400,
    math.nan, math.inf, True, False, [], [1], {},
]  # fmt: skip
BAD_COSTS = [bad for bad in BAD_AMOUNTS if bad not in ("0", "0.00", None)]
BAD_TIMES = [
    "", "now", "tomorrow", "2026-13-01T00:00:00Z", "2026-02-30T00:00:00Z", "2026-01-01",
    "2026-01-01T00:00:00", "2026-01-01T24:00:00Z", "9999-12-31T23:59:59Z", "1969-12-31T23:59:59Z",
    "-1d", "1.5h", "30", "30x", "0d",
    "999999999999w", "１d", 0, 1, -1, 1.5, True, [], {}, "1970-01-01T00:00:00Z", "2" * 5000,
]  # fmt: skip
BAD_IDS = [
    "", " ", "a b", "a/b", "ä", "a" * 65, "a\n", "\x00", "\ud800", "../x", "a;b", "a'b", 1, 1.5, True, None,
    [], {}, "١",
]  # fmt: skip
BAD_TEXTS = ["\x00", "a\nb", "\x1b[31m", "\ud800", "\x7f", "\x85", "x" * 501, 1, 1.5, True, [], {}]
BAD_LIMITS: Sequence[object] = [
    0,
    -1,
    1001,
    10**30,
    1.0,
    True,
    False,
    None,
    "",
    "0",
    "-1",
    "1001",
    "1e2",
    "+5",
    "１",
    " 5",
    [],
    {},
]
BAD_AFTERS: Sequence[object] = [-1, 1, True, None, "x y", "\x00", "-1", "1.5", "9" * 30, "\ud800", [], {}]
BAD_SCOPES = ["chat", 1, True, {}, [1], [""], ["a b"], ["x" * 65], ["ä"], [[]], ["\x00"], ["a"] * 33]
BAD_METADATA = [
    "x", 1, True, [], {"a": math.nan}, {"a": math.inf}, {1: "a"}, {"a": "\ud800"}, {"a": "x" * 20_000},
    {"a": {1, 2}},
]  # fmt: skip
BAD_DIMENSIONS = [
    "x",
    1,
    True,
    [],
    {"a": 1},
    {"a": None},
    {"": "x"},
    {"a b": "x"},
    {"a": "\x00"},
    {"a": "x" * 201},
]
BAD_GRACES = ["", "8d", "169h", "-1h", "1.5h", "forever", "0x1h", 0, 1, -1, True, None, [], "999999999999w"]
BAD_FLAGS = [0, 1, "true", "yes", "", None, [], {}, 1.0]
BAD_PLANS = ["gold", "", "a b", 1, True, [], {}, "\x00", "x" * 65]
BAD_PERIODS = ["fortnight", "", "Month", 1, True, None, []]

BASES: dict[str, dict[str, object]] = {
    "accounts.create": {"id": "new"},
    "accounts.update": {"id": "ada"},
    "accounts.list": {},
    "credits.grant": {"account": "ada", "amount": "1"},
    "grants.list": {},
    "keys.create": {"account": "ada"},
    "keys.rotate": {"kid": "KID"},
    "keys.list": {},
    "ledger.list": {},
    "audit.list": {},
    "subscriptions.assign": {"account": "ada", "plan": "growth"},
    "usage.record": {"account": "ada", "meter": "requests", "units": 1},
    "usage.list": {},
}

TABLE: list[tuple[str, str, Sequence[object]]] = [
    ("accounts.create", "id", BAD_IDS),
    ("accounts.create", "plan", BAD_PLANS),
    ("accounts.create", "name", [*BAD_TEXTS, "x" * 201]),
    ("accounts.create", "email", BAD_TEXTS),
    ("accounts.create", "currency", ["EUR", "usd", "", 1, True, []]),
    ("accounts.create", "metadata", BAD_METADATA),
    ("accounts.update", "id", [*BAD_IDS, "eve"]),
    ("accounts.update", "suspended", [bad for bad in BAD_FLAGS if bad is not None]),
    ("accounts.update", "plan", BAD_PLANS),
    ("accounts.update", "name", BAD_TEXTS),
    ("accounts.update", "metadata", BAD_METADATA),
    ("accounts.list", "limit", BAD_LIMITS),
    ("accounts.list", "after", [1, True, None, "x y", "\x00", "\ud800", "a" * 65, [], {}]),
    ("credits.grant", "account", [*BAD_IDS, "eve"]),
    ("credits.grant", "amount", BAD_AMOUNTS),
    ("credits.grant", "expires_at", BAD_TIMES),
    ("credits.grant", "promotional", BAD_FLAGS),
    ("credits.grant", "id", ["", "a b", "x" * 129, "trial:ada:growth", "\x00", 1, True, [], "ä"]),
    ("credits.grant", "memo", BAD_TEXTS),
    ("grants.list", "account", [bad for bad in BAD_IDS if bad is not None]),
    ("grants.list", "limit", BAD_LIMITS),
    ("grants.list", "after", BAD_AFTERS),
    ("keys.create", "account", [*BAD_IDS, "eve"]),
    ("keys.create", "expires_at", BAD_TIMES),
    ("keys.create", "scopes", BAD_SCOPES),
    ("keys.create", "environment", ["", "prod", "LIVE", 1, True, []]),
    ("keys.create", "cap", [bad for bad in BAD_AMOUNTS if bad is not None]),
    ("keys.create", "cap_every", BAD_PERIODS),
    ("keys.create", "networks", [*BAD_SCOPES, ["10.0.0.1/8"], ["10.0.0.0/33"], [3232235777]]),
    ("keys.rotate", "kid", ["", "nobody", "x y", "../..", 1, None, [], "\x00"]),
    ("keys.rotate", "grace", BAD_GRACES),
    ("keys.list", "limit", BAD_LIMITS),
    ("ledger.list", "after", BAD_AFTERS),
    ("audit.list", "after", BAD_AFTERS),
    ("audit.list", "subject", ["", "a b", "\x00", 1, []]),
    ("subscriptions.assign", "plan", BAD_PLANS),
    ("usage.record", "account", [*BAD_IDS, "eve"]),
    ("usage.record", "meter", ["", "none", "a b", "\x00", 1, None, True, [], {}, "x" * 65]),
    ("usage.record", "units", BAD_UNITS),
    ("usage.record", "cost", BAD_COSTS),
    ("usage.record", "at", [*BAD_TIMES[:-2], "2026-01-01T00:05:01Z", "2200-01-01T00:00:00Z"]),
    ("usage.record", "service", ["\x00", "a\nb", "x" * 65, 1, True, []]),
    ("usage.record", "dimensions", BAD_DIMENSIONS),
    ("usage.record", "idempotency_key", ["", " ", "ä", "x" * 256, "\x00", 1, True, []]),
    ("usage.list", "since", ["", "yesterday", 1, True, "2026-13-01T00:00:00Z", "1d"]),
    ("usage.list", "limit", BAD_LIMITS),
]  # fmt: skip


@pytest.mark.parametrize(
    ("verb", "field", "values"), TABLE, ids=lambda each: each if isinstance(each, str) else ""
)
async def test_nonsense_changes_nothing(
    bench: Bench, verb: str, field: str, values: Sequence[object]
) -> None:
    """One clear sentence for each value of the table; rows, balances and keys stay as they were."""
    await bench.do("accounts.create", id="ada")
    key = await bench.do("keys.create", account="ada")
    before = await bench.snapshot()
    base = {name: key["kid"] if value == "KID" else value for name, value in BASES[verb].items()}
    for value in values:
        with pytest.raises(InvalidInput) as refused:
            await bench.office.do(verb, {**base, field: value})
        sentence = str(refused.value)
        assert sentence.endswith((".", "!")), sentence
        assert len(sentence) < 700
        assert "\n" not in sentence
    assert await bench.snapshot() == before


@pytest.mark.parametrize("data", [None, {}, [], "x", 1, [{}] * 1001, [[]], [None], [{"account": "ada"}]])
async def test_a_batch_is_a_list_of_rows(bench: Bench, data: object) -> None:
    await bench.do("accounts.create", id="ada")
    with pytest.raises(InvalidInput):
        await bench.do("usage.record_batch", data=data)


async def test_what_would_overflow_is_refused(bench: Bench) -> None:
    """A balance never grows beyond 64 bits."""
    await bench.do("accounts.create", id="ada")
    await bench.do("credits.grant", account="ada", amount="9223372036.854775807")
    with pytest.raises(InvalidInput, match="64 bits"):
        await bench.do("credits.grant", account="ada", amount="0.000000001")
    assert bench.balance("ada") == 2**63 - 1


def test_the_table_knows_every_verb_it_uses() -> None:
    assert set(BASES) <= set(VERBS)
