"""`${NAME}` in a policy: filled from the environment, and never shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metergate import config
from tests.config.helpers import complaints, policy, problems, told, whole

SECRET = "hunter2-hunter2-hunter2"


@pytest.mark.parametrize(
    ("text", "environ", "ledger"),
    [
        ("${A}", {"A": "x"}, "x"),
        ("${A}", {"A": "no"}, "no"),
        ("${A}", {"A": "[1, {b: c}]"}, "[1, {b: c}]"),
        ("${A}", {"A": "${B}", "B": "x"}, "${B}"),
        ("${A:-x}", {}, "x"),
        ("${A:-x}", {"A": ""}, "x"),
        ("${A:-x}", {"A": "y"}, "y"),
        ("${A:-}", {}, ""),
        ("${A:-a:-b}", {}, "a:-b"),
        ("pre-${A}-${B:-b}", {"A": "a"}, "pre-a-b"),
        ("$$", {}, "$"),
        ("$${A}", {"A": "x"}, "${A}"),
        ("$A", {"A": "x"}, "$A"),
        ("'${A}'", {"A": "it''s"}, "it''s"),
    ],
)
def test_holes_are_filled_with_text(text: str, environ: dict[str, str], ledger: str) -> None:
    """What comes from the environment is a text and never YAML, so it can change nothing else."""
    assert policy(f"ledger: {text}", environ).ledger == ledger


def test_numbers_and_flags_may_come_from_the_environment() -> None:
    """The field decides what the text means."""
    text = "backlog: ${N}\nshadow: ${S}\nmeters: {m: {count: calls}}\nprices: {m: {price: '${P}'}}"
    found = policy(text, {"N": "500", "S": "true", "P": "0.25"})
    assert (found.backlog, found.shadow) == (500, True)
    assert found.prices == policy("meters: {m: {count: calls}}\nprices: {m: {price: '0.25'}}").prices


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("ledger: ¦${A}", "ledger: the environment variable A is not set; set it, or write ${A:-default}"),
        ("ledger: x${B}", "ledger: the environment variable B is empty; set it, or write ${B:-default}"),
        ("ledger: ¦'${A b}'", "ledger: write ${NAME} or ${NAME:-default}, and $$ for a dollar sign"),
        ("ledger: ¦${A", "ledger: write ${NAME} or ${NAME:-default}, and $$ for a dollar sign"),
        ("ledger: ¦${}", "ledger: write ${NAME} or ${NAME:-default}, and $$ for a dollar sign"),
        ("backlog: ¦${A}", "backlog: the environment variable A is not set; set it, or write ${A:-default}"),
    ],
)
def test_a_hole_that_cannot_be_filled_is_one_problem(line: str, problem: str) -> None:
    """Missing is an error, blank is missing, and nothing else is said about the value."""
    marked = line if "¦" in line else line.replace("x${", "¦x${")
    before, _, after = marked.partition("¦")
    assert problems(before + after, {"B": ""}) == [f"p.yaml:2:{len(before) + 1}: {problem}"]


def test_keys_are_not_filled() -> None:
    """Only values are; the shape of a policy is in its file."""
    assert "${A}" in told("plans: {¦'${A}': {}}") or told("plans: {¦'${A}': {}}").startswith(
        "plans.${A}: write a name"
    )


BAD_PLACES = """
service: ${S}
currency: ${S}
zone: ${S}
backlog: ${S}
shadow: ${S}
store: ${S}
provider: ${S}
billing: ${S}
default_plan: ${S}
default: ${S}
top_up_url: ${S}
upstream: {url: "${S}", timeout: "${S}"}
meters: {m: {count: "${S}"}, j: {count: json, path: "${S}"}}
prices: {m: {price: "${S}", multiplier: "${S}", minimum: "${S}"}}
limits: [{rate: "${S}", per: "${S}"}]
caps: [{units: 5, meter: "${S}"}]
routes:
  - {match: "${S}", free: true}
  - {match: GET /x, meter: "${S}", feature: "${S}", hold_for: "${S}"}
"""


@given(st.text("aZ0 :/'\"{}\\%.٣漢", max_size=50).map("ЖЩЖ".__add__))
def test_a_secret_is_in_no_message(secret: str) -> None:
    """Wherever it stands and whatever is wrong with it."""
    found = complaints(whole(BAD_PLACES), {"S": secret})
    assert len(found) > 15
    assert not any("ЖЩЖ" in line for line in found)


def test_a_secret_is_in_no_repr() -> None:
    """Policies are logged and printed; what they connect to is not."""
    text = """
        store: "redis://:${S}@host/0"
        ledger: ${S}
        upstream: {url: "https://${S}/", headers: {Authorization: "Bearer ${S}"}}
        web3: {chains: [{id: 1, rpc: "https://${S}", receive: "0x0"}]}
    """
    loaded = config.loads(whole(text), "p.yaml", {"S": SECRET})
    assert loaded.file.upstream is not None
    assert loaded.file.upstream.headers == {"Authorization": f"Bearer {SECRET}"}
    assert SECRET not in repr(loaded)


def test_the_version_knows_the_prices_and_no_secret() -> None:
    """A rotated credential is the same policy; a price from the environment is not."""
    credential = 'upstream: {url: "https://x", headers: {Authorization: "Bearer ${S}"}}'
    assert policy(credential, {"S": "a"}).version == policy(credential, {"S": "b"}).version
    price = "meters: {m: {count: calls}}\nprices: {m: {price: '${P}'}}"
    assert policy(price, {"P": "1"}).version != policy(price, {"P": "2"}).version
