"""What YAML does silently is said aloud, at its line and column."""

import pytest

from tests.config.helpers import complaints, policy, problems, told

WHOLE = "backlog: write a whole number of at least 1"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("ledger: ¦no", 'ledger: write true or false, or put the word in quotes: "no"'),
        ("ledger: ¦On", 'ledger: write true or false, or put the word in quotes: "On"'),
        ("ledger: ¦y", 'ledger: write true or false, or put the word in quotes: "y"'),
        ("ledger: ¦1:30", 'ledger: put it in quotes, YAML reads it as a number of base 60: "1:30"'),
        ("ledger: ¦1.5", 'ledger: put a number with decimals in quotes, so that it stays exact: "1.5"'),
        ("ledger: ¦1e3", 'ledger: put a number with decimals in quotes, so that it stays exact: "1e3"'),
        ("ledger: ¦.nan", 'ledger: put a number with decimals in quotes, so that it stays exact: ".nan"'),
        ("ledger: ¦0x1f", 'ledger: write the number with decimal digits, or put the text in quotes: "0x1f"'),
        (
            "backlog: ¦0123",
            'backlog: write the number without leading zeros, or put the text in quotes: "0123"',
        ),
        ("backlog: ¦1e3", WHOLE),
        ("backlog: ¦.inf", WHOLE),
        ("backlog: ¦1.5", WHOLE),
        ("backlog: ¦true", WHOLE),
        ("backlog: ¦-1", WHOLE),
        ("backlog: ¦" + "9" * 40, WHOLE),
        ("backlog: ¦٣", WHOLE),
        ("backlog: ¦1__0", WHOLE),
        ("shadow: ¦yes", "shadow: write true or false"),
        ("shadow: ¦1", "shadow: write true or false"),
        ("ledger: ¦5", "ledger: write a text, in quotes where it looks like a number"),
        ("¦no: x", 'put the key in quotes: "no"'),
        ("¦1: x", 'put the key in quotes: "1"'),
        ("¦[a]: x", "use a text as the key"),
        ("ledger: ¦!!str x", "remove the tag; quotes make a text of anything"),
        ("ledger: ¦!!python/object:os.system x", "remove the tag; quotes make a text of anything"),
        ("ledger: ¦*x", "no anchor &x is complete before this alias"),
        ("ledger: &x [¦*x]", "no anchor &x is complete before this alias"),
        ("¦metergate: 1", "metergate: this key is given twice, first on line 1"),
        ("show:\n¦\tcost: x", "indent with spaces; a tab stands here"),
        ("a: b¦: c", "this is not valid YAML: mapping values are not allowed in this context"),
        ("¦--- {}", "keep one document in the file; a second one begins here"),
        ("ledger: é¦\x07", "remove the control character U+0007"),
        (
            "company: {name: é, email: ¦no}",
            'company.email: write true or false, or put the word in quotes: "no"',
        ),
    ],
)
def test_a_trap_is_an_error(line: str, problem: str) -> None:
    """Words that two readers understand differently, and what YAML offers beyond data."""
    assert told(line) == problem


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "p.yaml:1:1: begin the policy with metergate: 1, then its keys"),
        (b"- a\n", "p.yaml:1:1: begin the policy with metergate: 1, then its keys"),
        (b"metergate: 1\nservice: caf\xe9\n", "p.yaml:2:13: save the file as UTF-8"),
        ("metergate: 1".encode("utf-16"), "p.yaml:1:1: save the file as UTF-8"),
        (b"metergate: 2", "p.yaml:1:12: metergate: write metergate: 1, the version of this format"),
        (b"metergate: true", "p.yaml:1:12: metergate: write metergate: 1, the version of this format"),
        (b"zone: UTC", 'p.yaml:1:1: the key "metergate" is missing'),
    ],
)
def test_the_file_as_a_whole(data: bytes, problem: str) -> None:
    """What is not a policy of this version at all is told in one line."""
    assert complaints(data) == [problem]


def test_words_that_are_values_need_no_quotes() -> None:
    """Where `no` and `off` are among the values to choose from, they mean themselves."""
    found = policy("fsync: no\nbilling: off")
    assert (found.fsync, found.billing) == ("no", "")


def test_a_byte_order_mark_and_windows_line_ends_are_fine() -> None:
    """What editors on Windows write is read."""
    assert complaints(b"\xef\xbb\xbfmetergate: 1\r\nzone: UTC\r\n") == []


def test_numbers_may_be_grouped() -> None:
    """One million is easier to read with its groups."""
    assert policy("backlog: 1_000_000").backlog == 1_000_000


def test_aliases_and_merged_keys_work() -> None:
    """Plans may share what they have in common; what stands in the plan itself wins."""
    plans = policy("""
        plans:
          small: &small {features: [a], on_exceed: block, contact: x}
          large: {<<: *small, features: [a, b]}
          other: {<<: [*small, {contact: z, name: Other}]}
    """).plans
    assert plans["large"].features == {"a", "b"}
    assert (plans["other"].contact, plans["other"].name) == ("x", "Other")


def test_only_mappings_can_be_merged() -> None:
    """A merge of anything else has no meaning."""
    assert told("show: {<<: ¦5}") == "show: merge an alias of a mapping: <<: *name"


def test_a_mistake_behind_an_alias_is_told_for_every_use_at_its_one_place() -> None:
    """There is one line to mend, and the way says what it is used for."""
    assert problems("plans: {a: &a {contact: 5}, b: *a}") == [
        "p.yaml:2:25: plans.a.contact: write a text, in quotes where it looks like a number",
        "p.yaml:2:25: plans.b.contact: write a text, in quotes where it looks like a number",
    ]


def bomb(first: str, step: str) -> bytes:
    """Each line holds the one before it twice: 2^50 values in 50 lines."""
    lines = [f"x0: &x0 {first}", *[step.format(n=n, before=n - 1) for n in range(1, 50)]]
    return "\n".join(lines).encode()


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"a: b\n" * 2_000_000, "the file is larger than 1 MiB; split or shorten it"),
        (b"[" * 1_000_000, "values are nested deeper than 32 levels"),
        (b"[" + b"1," * 500_000 + b"]", "the file holds more than 100000 values; shorten it"),
        (bomb("[a, a]", "x{n}: &x{n} [*x{before}, *x{before}]"), "aliases make the file too large"),
        (bomb("{a: b}", "x{n}: &x{n} {{<<: [*x{before}, *x{before}]}}"), "aliases make the file too large"),
    ],
    ids=["bytes", "depth", "values", "aliases", "merges"],
)
def test_what_is_too_large_is_refused_before_it_costs_anything(data: bytes, problem: str) -> None:
    """Size, depth and growth through aliases are bounded; without the bounds some of these never end."""
    found = complaints(data)
    assert len(found) == 1 and problem in found[0]
