"""What can be wrong with a policy, each with the line that its author reads."""

import pytest

from metergate import config
from tests.config.helpers import problems, told

METERS = """\
meters: {requests: {count: calls}, rows: {count: json, path: $.rows}}
prices: {requests: {price: '1'}}
"""


NAME = "write a name of up to 64 letters, digits, _, - or ., beginning with a letter or digit"
DURATION = "write a duration as a number and s, m, h, d or w, such as 30s or 24h"
PRICE = 'write a price as text with up to 18 decimals, such as "0.002"'
VOLUME = "volume tiers are for postpaid plans; add a credit_limit to the plan, or use mode: graduated"
ONE_KIND = "give exactly one of price, flat, package, tiers and table"
HOLD = "give units, or amount, or some of output_tokens, input_cap, output_cap, grow"
LAST_TIER = "leave up_to out of the last tier, and only there, so that every unit has a price"
STORE = "write the store as an address such as redis://localhost:6379/0, or leave it out to embed it"
ADDRESS = "write an address that begins with https:// or http:// and names a host"
MATCH = "write the match as METHOD /path, for example 'POST /v1/chat' or '* /**'"


def test_five_mistakes_are_five_lines() -> None:
    """Of different kinds, in one run, in the order of the file, each at its place."""
    found = problems("""
        meters:
          requests: {cuont: calls}
        prices:
          requests: {price: 5 cents}
        plans:
          free: {included: {request: {units: 1000}}}
        routes:
          - {match: "GET", meter: requests}
        default_plan: fre
    """)
    assert found == [
        'p.yaml:3:14: meters.requests.cuont: unknown key; did you mean "count"?',
        f"p.yaml:5:21: prices.requests.price: {PRICE}",
        'p.yaml:7:21: plans.free.included.request: no meter is called "request"; did you mean "requests"?',
        f"p.yaml:9:13: routes[0].match: {MATCH}",
        'p.yaml:10:15: default_plan: no plan is called "fre"; did you mean "free"?',
    ]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("¦plan: {}", 'plan: unknown key; did you mean "plans"?'),
        ("¦routs: []", 'routs: unknown key; did you mean "routes"?'),
        ("¦trial: {}", "trial: unknown key"),
        ("plans:¦", "plans: write keys and values here, or leave the key out"),
        ("routes: ¦{}", "routes: write a list here, or leave the key out"),
        ("currency: ¦usd", "currency: write an ISO 4217 currency code in capitals, such as USD"),
        ("zone: ¦Berlin", "zone: write a time zone of the IANA database, such as UTC or Europe/Berlin"),
        ("default: ¦allow", 'default: use "deny" or "free"'),
        ("environment: ¦tset", 'environment: use "live" or "test"; did you mean "test"?'),
        ("billing: ¦billing/", "billing: write a path such as /billing without a slash at the end, or off"),
        ("key_headers: ¦[]", "key_headers: give at least one"),
        ("key_headers: [¦a b]", "key_headers[0]: write the name of an HTTP header"),
        ("store: ¦redis", f"store: {STORE}"),
        ("upstream: {url: ¦api.example.com}", f"upstream.url: {ADDRESS}"),
        ("upstream: {url: ¦ftp://x}", f"upstream.url: {ADDRESS}"),
        ("upstream: ¦{}", 'upstream: the key "url" is missing'),
        ("top_up_url: ¦javascript:alert", f"top_up_url: {ADDRESS}"),
        ("top_up_url: ¦//elsewhere", f"top_up_url: {ADDRESS}"),
        ("default_plan: ¦pro", 'default_plan: no plan is called "pro"'),
        ("packs: {small: {credits: ¦0, price: '5'}}", "packs.small.credits: write an amount above zero"),
        ("top_ups: {pack: ¦big}", 'top_ups.pack: no pack is called "big"'),
        ("provider: ¦Stripe", "provider: write a word of small letters, digits and _"),
        ("limits: {rate: 5, per: ¦month}", 'limits.per: use "second", "minute", "hour" or "day"'),
        ("concurrency: ¦0", "concurrency: write a whole number of at least 1"),
        ("concurrency: [¦{scope: key}]", "concurrency[0]: give either calls, or held"),
        ("concurrency: [{calls: 1}, ¦{calls: 2, held: '3'}]", "concurrency[1]: give either calls, or held"),
        ("concurrency: {held: ¦0}", "concurrency.held: write an amount above zero"),
        ("caps: ¦{spend: '1', units: 2}", "caps: give either spend, or units of a meter"),
        ("caps: ¦{units: 2}", "caps: give units and meter together"),
        ("caps: {units: 2, meter: ¦rows}", 'caps.meter: no meter is called "rows"'),
        (
            "meters: {spend: ¦{count: calls}}",
            "meters.spend: caps on money count under this name; call the meter otherwise",
        ),
    ],
)
def test_a_mistake_at_the_top(line: str, problem: str) -> None:
    """One mistake in the file is one line of complaint."""
    assert told(line) == problem


@pytest.mark.parametrize(
    ("meter", "problem"),
    [
        (
            "{count: ¦cals}",
            '.count: no counter is called "cals", and no installed package brings it; did you mean "calls"?',
        ),
        ("¦{count: json}", ": count: json needs a path"),
        (
            "{count: json, path: ¦rows}",
            ".path: write a path such as $.usage.total, $.rows[0].size or $['a b']",
        ),
        (
            "¦{count: json, path: $.a, of: both}",
            ": a number stands in the request or in the response; write of: request or response",
        ),
        ("¦{count: header}", ": count: header needs a header"),
        ("¦{count: regex}", ": count: regex needs a pattern"),
        (
            "{count: regex, pattern: ¦'('}",
            ".pattern: write a regular expression with one group, around the number",
        ),
        (
            "{count: regex, pattern: ¦'(a)(b)'}",
            ".pattern: write a regular expression with one group, around the number",
        ),
        ("¦{count: cost}", ": count: cost needs a path or a header, and not both"),
        ("¦{count: cost, path: $.a, header: a}", ": count: cost needs a path or a header, and not both"),
        ("¦{count: calls, path: $.a}", ": path belongs to count: json and cost; remove it"),
        ("¦{count: bytes, header: x}", ": header belongs to count: header and cost; remove it"),
        ("¦{count: llm, pattern: x}", ": pattern belongs to count: regex; remove it"),
        ("¦{count: calls, ask_usage: false}", ": ask_usage belongs to count: llm; remove it"),
        ("¦{count: llm, otherwise: 1}", ": otherwise belongs to count: json; remove it"),
        ("¦{count: json, path: $.a, otherwise: 1}", ": otherwise belongs to of: request; remove it"),
        (
            "{count: calls, dimensions: {size: ¦size}}",
            ".dimensions.size: write a path such as $.usage.total, $.rows[0].size or $['a b']",
        ),
        ("{¦cuont: calls}", '.cuont: unknown key; did you mean "count"?'),
    ],
)
def test_a_meter_that_cannot_count(meter: str, problem: str) -> None:
    """The meter says how it counts and has what it needs for it."""
    assert told(f"meters: {{m: {meter}}}") == "meters.m" + problem


@pytest.mark.parametrize(
    ("price", "problem"),
    [
        ("¦{}", f": {ONE_KIND}"),
        ("¦{price: '1', flat: '1'}", f": {ONE_KIND}"),
        ("¦{flat: '1', per: 5}", ": per belongs to price; remove it"),
        ("¦{flat: '1', longer: [{above: 5, price: '1'}]}", ": longer belongs to price; remove it"),
        (
            "¦{price: '1', longer: [{above: 5, price: '1'}, {above: 4, price: '1'}]}",
            ": give each longer prompt a length above the one before it",
        ),
        ("¦{price: '1', table: openai}", f": {ONE_KIND}"),
        ("¦{price: '1', mode: volume}", ": mode belongs to tiers; remove it"),
        ("{price: ¦'-1'}", f".price: {PRICE}"),
        ("{price: ¦'1e3'}", f".price: {PRICE}"),
        ("{price: ¦'٣'}", f".price: {PRICE}"),
        ("{price: ¦0.002}", '.price: put a number with decimals in quotes, so that it stays exact: "0.002"'),
        ("{price: '1', per: ¦0}", ".per: write a whole number of at least 1"),
        ("{price: '1', multiplier: ¦x}", '.multiplier: write a multiplier as text, such as "1.25"'),
        (
            "{price: '1', minimum: ¦NaN}",
            '.minimum: write an amount as text with up to 9 decimals, such as "5.00"',
        ),
        ("{package: {units: ¦0, price: '1'}}", ".package.units: write a whole number of at least 1"),
        ("¦{tiers: []}", f": {LAST_TIER}"),
        ("¦{tiers: [{up_to: 5, price: '1'}]}", f": {LAST_TIER}"),
        ("¦[]", ": give at least one"),
        ("[{price: '1'}, ¦5]", "[1]: write keys and values here, or leave the key out"),
    ],
)
def test_a_price_that_is_none(price: str, problem: str) -> None:
    """Prices are exact and complete."""
    meters = "meters: {requests: {count: calls}}\n"
    assert told(f"{meters}prices: {{requests: {price}}}") == "prices.requests" + problem


def test_general_volume_tiers_want_postpaid_plans() -> None:
    """Everybody who could meet the price must be able to owe."""
    rest = "tiers: [{price: '1'}], mode: volume}}\nmeters: {requests: {count: calls}}\n"
    assert told(f"prices: {{¦requests: {{{rest}") == (
        "prices.requests: volume tiers are for postpaid plans; put them into plans with a credit_limit"
    )
    assert not problems(f"prices: {{requests: {{{rest}plans: {{p: {{credit_limit: '9'}}}}\ndefault_plan: p")


def test_a_price_that_is_never_used_is_a_warning() -> None:
    """The first price that matches counts, and one without `when` always matches."""
    prices = "prices: {requests: [{price: '1'}, ¦{price: '2'}]}"
    assert told("meters: {requests: {count: calls}}\n" + prices) == (
        "warning: prices.requests[1]: the price before it has no `when`, so this one is never used"
    )


@pytest.mark.parametrize(
    ("plan", "problem"),
    [
        ("{on_exceed: ¦overage}", "on_exceed: add an allowance under included, or leave on_exceed out"),
        (
            "{included: {rows: {units: 1}}, on_exceed: ¦overage}",
            'on_exceed: nothing says what "rows" costs beyond the allowance; add it to overage',
        ),
        (
            "{included: {requests: {units: 1}}, on_exceed: ¦upgrade}",
            'on_exceed: no plan after this one includes more "requests"; add one, or use on_exceed: block',
        ),
        (
            "{included: {requests: {units: 1}}, overage: ¦{requests: {price: '1'}}}",
            "overage: add on_exceed: overage, or remove overage",
        ),
        (
            "{included: {requests: {units: 1}}, on_exceed: overage, overage: {¦rows: {price: '1'}}}",
            'overage.rows: the plan does not include "rows"; put its price under prices',
        ),
        (
            "{prices: {¦requests: {mode: volume, tiers: [{price: '1'}]}}}",
            f"prices.requests: {VOLUME}",
        ),
        (
            "{prices: {¦request: {price: '1'}}}",
            'prices.request: no meter is called "request"; did you mean "requests"?',
        ),
        ("{features: [a, ¦{}]}", f"features[1]: {NAME}"),
        ("{trial: ¦{credits: '1'}}", 'trial: the key "for" is missing'),
        ("{trial: {credits: '1', for: ¦14}}", f"trial.for: {DURATION}"),
        (
            "{caps: [{units: 5, meter: ¦row}]}",
            'caps[0].meter: no meter is called "row"; did you mean "rows"?',
        ),
    ],
)
def test_a_plan_that_cannot_work(plan: str, problem: str) -> None:
    """What a plan promises can happen."""
    assert told(METERS + f"plans: {{p: {plan}}}") == "plans.p." + problem


@pytest.mark.parametrize(
    ("route", "problem"),
    [
        ("¦{match: GET /x}", ": say what the route costs: give a meter, free: true or public: true"),
        ("¦{match: GET /x, free: true, meter: requests}", ": keep one of meter, free and public"),
        (
            "¦{match: GET /x, public: true, scope: a}",
            ": a public route knows no caller: remove feature and scope, or use free: true",
        ),
        (
            "¦{match: GET /x, free: true, hold: {units: 1}}",
            ": only a route with a meter can hold something; remove hold",
        ),
        (
            "{match: GET /x, meter: requests, hold: ¦{}}",
            f".hold: {HOLD}",
        ),
        (
            "{match: GET /x, meter: requests, hold: ¦{units: 1, grow: true}}",
            f".hold: {HOLD}",
        ),
        (
            "{match: GET /x, meter: requests, hold: ¦{output_tokens: 9}}",
            ".hold: only a meter with count: llm holds tokens; give units or an amount",
        ),
        (
            "{match: GET /x, meter: requests, on_missing_usage: ¦estimate}",
            ".on_missing_usage: only a meter with count: llm can estimate; write hold, minimum or release",
        ),
        (
            "¦{match: GET /x, meter: requests, on_dry: stop}",
            ": on_dry: stop needs a hold that grows; add hold: {grow: true}",
        ),
        (
            "{match: GET /x, free: true, feature: ¦chat}",
            '.feature: no plan has the feature "chat"; did you mean "chats"?',
        ),
        (
            "{match: GET /x, meter: ¦rows}",
            '.meter: nothing says what "rows" costs; give it a price under prices, or an allowance in a plan',
        ),
        ("{match: GET /x, meter: requests, hold_for: ¦0s}", f".hold_for: {DURATION}"),
        ("{match: ¦GET /x*, free: true}", ".match: * stands for a whole segment, so 'x*' cannot be matched"),
        ("¦{meter: requests}", ': the key "match" is missing'),
    ],
)
def test_a_route_that_cannot_work(route: str, problem: str) -> None:
    """A route can be matched, says what it costs, and asks for what can be had."""
    plans = "plans: {p: {features: [chats]}}\n"
    assert told(METERS + plans + f"routes: [{route}]") == "routes[0]" + problem


def test_a_route_that_is_never_reached_is_a_warning() -> None:
    """The policy works, but not as its author thinks."""
    routes = "routes:\n- {match: '* /**', free: true}\n- {match: 'GET /x', free: true}\n"
    (found,) = problems(routes)
    assert found.startswith("p.yaml:4:11: warning: routes[1].match: routes[0] matches all of this before it")


def test_what_is_not_installed_is_a_warning_until_the_gate_starts() -> None:
    """A policy can be checked on a machine that does not run it; `enabled` is stricter."""
    missing = "is not installed; the gate will not start without it"
    assert problems("store: nowhere://x\nprovider: nobody\nenabled: [nowhere]") == [
        f"p.yaml:2:8: warning: store: the package metergate_nowhere {missing}",
        'p.yaml:3:11: provider: add "nobody" to enabled: only what it lists may be imported',
        f"p.yaml:3:11: warning: provider: the package metergate_nobody {missing}",
    ]


def test_mistakes_in_one_plan_do_not_hide_those_of_another() -> None:
    """A plan that cannot be read is still known by its name."""
    found = problems("""
        plans:
          broken: {features: 5}
          other: {on_exceed: upgrade}
        default_plan: broken
    """)
    assert found == [
        "p.yaml:3:22: plans.broken.features: write a list here, or leave the key out",
        "p.yaml:4:22: plans.other.on_exceed: add an allowance under included, or leave on_exceed out",
    ]


def test_a_dictionary_has_ways_in_place_of_lines() -> None:
    """What comes from Python is checked by the same rules."""
    bad = {"metergate": 1, "prices": {"requests": {"price": 0.1}}, "meters": {"requests": {"count": "calls"}}}
    assert [str(problem) for problem in config.check(bad)] == [
        'policy: prices.requests.price: write a price as text with up to 18 decimals, such as "0.002"'
    ]


def test_very_many_mistakes_stay_readable() -> None:
    """Nobody reads ten thousand lines."""
    found = problems("routes:\n" + "- {match: x, free: true}\n" * 1000)
    assert len(found) == 201
    assert found[-1] == "… and 800 more"


def test_an_address_on_a_chain_is_watched_by_one_provider() -> None:
    """Two would credit the same transfer twice."""
    text = """
        web3: {chains: [{id: 1, receive: "0x0000000000000000000000000000000000000001"}]}
        providers: {eu: web3, default: web3}
    """
    assert any("name web3 as one provider only" in each for each in problems(text))
