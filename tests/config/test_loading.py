"""From a file, a dictionary or a Policy to what decisions are made with."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from metergate import config
from metergate.config.model import PolicyFile
from metergate.core import policy as core
from metergate.core.price import Flat, Graduated, Package, PerUnit, PriceRule, Rate, Tier, Volume
from tests.config.helpers import complaints, policy

EXAMPLE = Path(__file__).with_name("contract.yaml")
ENVIRON = {"UPSTREAM_KEY": "sk-1", "WEB3_RPC_URL": "https://rpc.example.com"}
METER = "meters: {m: {count: calls}}\n"


def test_the_documented_example_loads() -> None:
    """With warnings only: what is not installed, and what comes later."""
    loaded = config.read(EXAMPLE, ENVIRON)
    found = loaded.policy
    assert all(warning.warning for warning in loaded.warnings)
    assert found.prices["tokens"][0] == PriceRule(
        (("model", "gpt-4o*"), ("kind", "input")), PerUnit(Rate(2500, 1))
    )
    assert list(found.plans) == ["free", "growth", "enterprise"]
    assert found.plans["free"].limits == (core.Limit(60, "minute", 60),)
    assert found.plans["growth"].price == core.PlanPrice(9_000_000_000)
    assert found.plans["growth"].included == {"requests": core.Included(100_000)}
    assert found.plan("enterprise").contact == "sales@example.com"
    assert found.packs["small"] == core.Pack("small", 5_000_000_000, 5_000_000_000)
    assert [route.match for route in found.routes] == ["POST /v1/chat/completions", "GET /v1/models", "* /**"]
    assert (found.routes[0].method, found.routes[0].pattern) == ("POST", "/v1/chat/completions")
    assert found.routes[0].hold_tokens.output == 1024


def test_what_a_policy_connects_to_is_read_as_well() -> None:
    """The file itself is at hand for the proxy, chains and invoices."""
    file = config.read(EXAMPLE, ENVIRON).file
    assert file.upstream is not None and file.web3 is not None
    assert file.upstream.headers["Authorization"] == "Bearer sk-1"
    assert file.upstream.timeout == 120_000_000
    assert file.web3.chains[0].tokens[0].decimals == 6
    assert file.company.name == "Example Ltd"
    assert file.compat


def test_the_smallest_policy() -> None:
    """Everything has a default, and the model's are those of the core."""
    found = policy("")
    assert found == core.Policy(version=found.version, meters={}, routes=())


def test_a_bare_route_plan_and_meter_have_the_defaults_of_the_core() -> None:
    """What a file leaves out means the same as what code leaves out."""
    found = policy(METER + "prices: {m: {price: 1}}\nplans: {p: {}}\nroutes: [{match: GET /x, meter: m}]")
    assert found.meters["m"] == core.Meter("m", "calls")
    assert found.plans["p"] == core.Plan("p", "p")
    assert found.routes == (core.Route(0, "GET /x", "GET", "/x", "m"),)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("{price: '0.002'}", PriceRule((), PerUnit(Rate(2_000_000, 1)))),
        ("{price: 2}", PriceRule((), PerUnit(Rate(2_000_000_000, 1)))),
        ("{price: '0.1', per: 3}", PriceRule((), PerUnit(Rate(100_000_000, 3)))),
        ("{price: '0.000000000000000001'}", PriceRule((), PerUnit(Rate(1, 1_000_000_000)))),
        ("{flat: '0.01'}", PriceRule((), Flat(10_000_000))),
        ("{package: {units: 1000, price: '1'}}", PriceRule((), Package(1000, 1_000_000_000))),
        ("{price: '1', multiplier: '1.25', minimum: '0.5'}", PriceRule(
            (), PerUnit(Rate(1_000_000_000, 1)), (5, 4), 500_000_000
        )),
        ("{when: {kind: input}, flat: 0}", PriceRule((("kind", "input"),), Flat(0))),
        ("{tiers: [{up_to: 10, price: '2', flat: '1'}, {price: '1', per: 2}]}", PriceRule((), Graduated((
            Tier(10, Rate(2_000_000_000, 1), 1_000_000_000), Tier(None, Rate(500_000_000, 1))
        )))),
    ],
)  # fmt: skip
def test_every_kind_of_price(text: str, rule: PriceRule) -> None:
    """Amounts become integers without passing a float."""
    assert policy(f"{METER}prices: {{m: {text}}}").prices["m"] == (rule,)


def test_volume_tiers_on_a_postpaid_plan() -> None:
    """Who may owe can be charged by volume."""
    plans = "plans: {p: {credit_limit: '100', prices: {m: {mode: volume, tiers: [{price: '1'}]}}}}"
    (rule,) = policy(METER + plans).plans["p"].prices["m"]
    assert rule.price == Volume((Tier(None, Rate(1_000_000_000, 1)),))


def test_limits_caps_and_concurrency() -> None:
    """Each may be written as its only item, and concurrency as a number of calls."""
    found = policy(
        METER
        + """
concurrency: [{calls: 10}, {held: "20.00", scope: key}]
limits: {rate: 5, per: second, burst: 20, scope: key}
caps:
  - {spend: "10.00", every: day, scope: plan, soft: true}
  - {units: 500, meter: m}
"""
    )
    assert found.concurrency == (
        core.Concurrency(10),
        core.Concurrency(scope="key", held=20_000_000_000),
    )
    assert policy(METER + "concurrency: 10").concurrency == (core.Concurrency(10),)
    assert found.limits == (core.Limit(5, "second", 20, "key"),)
    assert found.caps == (
        core.Cap("day", spend=10_000_000_000, scope="plan", soft=True),
        core.Cap("month", units=500, meter="m"),
    )


def test_a_route_with_everything() -> None:
    """Every choice of a route reaches the core."""
    (route,) = policy(
        METER
        + """
plans: {p: {features: [chat], included: {m: {units: 5}}}}
routes:
  - match: "POST /a/{id}/**"
    meter: m
    feature: chat
    scope: write
    hold: {amount: "0.05"}
    hold_for: 30s
    multiplier: "1.5"
    dimensions: {model: small}
    shadow: true
    on_upstream_error: charge
    on_client_error: release
    on_disconnect: hold
    on_missing_usage: release
    on_unknown_outcome: hold
"""
    ).routes
    assert route == core.Route(
        index=0, match="POST /a/{id}/**", method="POST", pattern="/a/{id}/**", meter="m", feature="chat",
        scope="write", hold_nanos=50_000_000, hold_for_us=30_000_000, multiplier=(3, 2),
        dimensions=(("model", "small"),), shadow=True, on_upstream_error="charge", on_client_error="release",
        on_disconnect="hold", on_missing_usage="release", on_unknown_outcome="hold",
    )  # fmt: skip


def test_a_plan_with_everything() -> None:
    """Every choice of a plan reaches the core."""
    plan = policy(
        METER
        + """
plans:
  p:
    name: Pro
    contact: us
    anchor: subscription
    credit_limit: "100"
    trial: {credits: "5.00", for: 14d}
"""
    ).plans["p"]
    assert plan == core.Plan(
        "p",
        "Pro",
        contact="us",
        anchored=True,
        credit_limit=100 * 10**9,
        trial=core.Trial(5 * 10**9, 14 * 86400 * 10**6),
    )


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("provider: mock", "provider", "sandbox"),
        ("billing: false", "billing", ""),
        ("billing: /pay", "billing", "/pay"),
        ("key_headers: [X-Key]", "key_headers", ("x-key",)),
        ("show: {balance: false}", "show", core.Show(balance=False)),
        ("enabled: [redis, stripe]", "enabled", ("redis", "stripe")),
        ("top_up_url: /credits", "top_up_url", "/credits"),
        ("store: memory", "store", "memory"),
        ("service: search", "service", "search"),
        ("environment: test", "environment", "test"),
    ],
)
def test_the_rest_of_the_top(text: str, field: str, value: object) -> None:
    """One line of the file, one field of the policy."""
    assert getattr(policy(text), field) == value


def test_a_policy_is_taken_as_it_is() -> None:
    """Who builds it in Python needs no file."""
    made = core.Policy(version="mine", meters={}, routes=())
    assert config.load(made) is made


def test_a_dictionary_says_the_same_as_a_file() -> None:
    """Down to the version."""
    of_file = policy("meters: {m: {count: calls}}\nprices: {m: {price: '1'}}")
    made: dict[str, Any] = {
        "metergate": 1,
        "meters": {"m": {"count": "calls"}},
        "prices": {"m": {"price": "1"}},
    }
    assert config.load(made) == of_file


def test_a_dictionary_without_end_is_refused() -> None:
    """What holds itself has no bottom."""
    endless: dict[str, Any] = {"metergate": 1}
    endless["plans"] = endless
    with pytest.raises(config.PolicyError, match="nested too deep"):
        config.load(endless)


def test_the_version_is_of_the_content() -> None:
    """Comments and layout change nothing; the order of plans and routes does."""
    base = policy("plans: {a: {}, b: {}}").version
    assert base.startswith("sha256:") and len(base) == len("sha256:") + 16
    assert policy("# why\nplans:\n  a: {}\n  b: {}\n").version == base
    assert policy("plans: {b: {}, a: {}}").version != base


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """The sentence names the file and what helps."""
    with pytest.raises(
        config.PolicyError, match=r"nowhere\.yaml: there is no such file; `metergate init` writes"
    ):
        config.load(tmp_path / "nowhere.yaml")
    with pytest.raises(config.PolicyError, match="the file cannot be read: Is a directory"):
        config.load(tmp_path)
    with pytest.raises(config.PolicyError, match="the file cannot be read"):
        config.load("a\0b")


def test_check_lists_errors_and_warnings(tmp_path: Path) -> None:
    """What the command line prints; a policy that only warns still loads."""
    file = tmp_path / "p.yaml"
    never_used = "metergate: 1\nmeters: {t: {count: app}}\nprices: {t: [{price: '1'}, {price: '2'}]}\n"
    file.write_text(never_used + "zone: X\n")
    assert [(p.line, p.column, p.warning) for p in config.check(file)] == [(3, 28, True), (4, 7, False)]
    file.write_text(never_used)
    assert [p.warning for p in config.check(file)] == [True]
    assert len(config.load(file).prices["t"]) == 2


WORDS = [
    *[
        "metergate: 1\n",
        ": ",
        "- ",
        "\n",
        "  ",
        "\t",
        "&a ",
        "*a",
        "<<: *a",
        "{",
        "}",
        "[",
        "]",
        ",",
        "'",
        '"',
        "#",
    ],
    *[
        "${",
        "$$",
        "|",
        "!",
        "%",
        "---",
        "?",
        "1",
        "1.5",
        "no",
        "GET /x",
        "m",
        "calls",
        "count",
        "match",
        "when",
    ],
    *["meters", "plans", "routes", "prices", "tiers", "limits", "included", "units"],
]


@given(
    st.one_of(
        st.binary(), st.text().map(str.encode), st.lists(st.sampled_from(WORDS)).map("".join).map(str.encode)
    )
)
@example(b"metergate: 1\n? \n")
@example(b"<<: &a {<<: *a}")
def test_any_text_is_a_policy_or_a_list_of_problems(data: bytes) -> None:
    """Never another exception, whatever somebody saved."""
    for text in (data, b"metergate: 1\n" + data):
        assert isinstance(complaints(text), list)


SECTIONS = sorted(PolicyFile.model_fields)
LEAF = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.sampled_from(WORDS)
)
KEYS = st.one_of(st.sampled_from([*SECTIONS, *WORDS]), st.integers())
TREES = st.recursive(
    LEAF, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)


@given(st.dictionaries(st.sampled_from(SECTIONS), TREES, max_size=5))
def test_any_dictionary_is_a_policy_or_a_list_of_problems(tree: dict[str, Any]) -> None:
    """Whatever the shape of a section."""
    assert isinstance(config.check({**tree, "metergate": 1}), list)
