"""The table of models is that of genai-prices, to the last nano."""

import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP

import pytest
from genai_prices.data import providers
from genai_prices.types import Usage

from metergate import config
from metergate.config.price_tables import table
from metergate.core.kinds import counts, lineage
from metergate.core.price import Listed, PriceRule
from metergate.core.sheet import Sheet, sheet
from metergate.core.table import Prices

MAKERS = {each.id: each for each in providers}
TODAY = datetime(2026, 11, 20, 12, tzinfo=UTC)
UNITS = ("input", "cached_input", "cache_write", "cache_write_1h", "output", "reasoning", "search")
"""Kinds that the library counts in the same way."""


def microseconds(at: datetime) -> int:
    return int(at.timestamp()) * 10**6


def usage(used: Mapping[str, int]) -> Usage:
    """The same units as the library counts them: wholes with their parts inside."""
    units = dict.fromkeys(UNITS, 0) | dict(used)
    return Usage(
        input_tokens=sum(units[kind] for kind in UNITS if "input" in lineage(kind)),
        output_tokens=units["output"] + units["reasoning"],
        cache_read_tokens=units["cached_input"],
        cache_write_tokens=units["cache_write"] + units["cache_write_1h"],
        cache_write_1h_tokens=units["cache_write_1h"],
        output_reasoning_tokens=units["reasoning"],
        web_searches=units["search"],
    )


def cost(prices: Prices, used: Mapping[str, int]) -> int:
    rules = [PriceRule((("kind", kind),), price) for kind, price in prices.items()]
    return sheet(rules, {}, 0).cost(counts(used))


MANY = ["openai", "anthropic", "google", "deepseek", "x-ai", "mistral", "openrouter"]


@pytest.mark.parametrize("maker", MANY)
def test_every_model_costs_what_the_library_says(maker: str) -> None:
    """Today, a year ago and tonight; for short prompts and long ones; with every service that it knows."""
    chance = random.Random(maker)
    owners = (maker, *(MAKERS[maker].fallback_model_providers or ()))
    models = [model for owner in owners for model in MAKERS[owner].models]
    compared = 0
    for listing in table(maker).listings:
        at = next(place for place, model in enumerate(models) if model.id == listing.id)
        model, models = models[at], models[at + 1 :]  # a maker may list a model as another does
        for then in (TODAY, TODAY - timedelta(days=365), TODAY + timedelta(hours=11)):
            for context in ({}, *[each.when for each in model.price_variants or ()]):
                prices = listing.prices(context, microseconds(then))
                priced = [kind for kind in UNITS if any(each in prices for each in lineage(kind))]
                used = {kind: chance.choice((0, 17, 5_000, 400_000)) for kind in priced}
                theirs = model.get_prices(then, context).calc_price(usage(used))["total_price"] * 10**9
                expected = int(theirs.to_integral_value(ROUND_HALF_UP))
                assert cost(prices, used) == expected, (listing.id, used, context)
                compared += 1
    assert compared > 20


@pytest.mark.parametrize("maker", sorted(MAKERS))
def test_every_name_leads_to_the_model_that_the_library_finds(maker: str) -> None:
    """Or to none, where that one's price hangs on what no usage tells."""
    provider = MAKERS[maker]
    known = {each.id for each in table(maker).listings}
    for model in provider.models:
        for name in (model.id, f"{model.id}-latest", f"x/{model.id}", model.id.upper()):
            found = provider.find_model(name, all_providers=providers)
            listing = table(maker).find(name)
            if found is not None and found.id in known:
                assert listing is not None
                assert listing.id == found.id


def test_what_no_usage_tells_has_no_price() -> None:
    """Hours of sound, pages, characters, a fee for each request."""
    assert table("openai").find("whisper-1") is None
    assert table("openai").find("tts-1") is None
    assert table("perplexity").find("sonar") is None
    assert table("openai").find("gpt-4o") is not None


def test_a_maker_serves_the_models_of_others() -> None:
    """As Azure does those of OpenAI."""
    assert table("azure").find("gpt-4o") is not None
    assert table("azure").find("claude-sonnet-4-5") is not None


PRICES = """
metergate: 1
meters: {tokens: {count: llm}}
prices:
  tokens:
    - {when: {model: "My-Model*"}, price: "1", per: 1_000_000}
    - {table: openai, multiplier: "1.2"}
"""


def test_a_policy_names_the_table_and_adds_its_margin() -> None:
    """The version of the policy is another with another table."""
    policy = config.loads(PRICES.encode(), "p.yaml", {}).policy
    own, listed = policy.prices["tokens"]
    assert own.when == (("model", "my-model*"),)
    assert (listed.price, listed.multiplier) == (Listed(table("openai")), (6, 5))
    assert table("openai").name.startswith("genai-prices 0.")
    found = sheet(policy.prices["tokens"], {"model": "gpt-4o"}, microseconds(TODAY))
    assert found.cost(counts({"input": 1_000_000})) == 3 * 10**9
    assert found.source == table("openai").name


def complaints(count: str, price: Mapping[str, object]) -> list[str]:
    source = {"metergate": 1, "meters": {"t": {"count": count}}, "prices": {"t": price}}
    return [str(problem) for problem in config.check(source)]


def test_a_service_that_the_table_does_not_know_has_no_price() -> None:
    """It is hardly the ordinary one's."""
    rules = config.loads(PRICES.encode(), "p.yaml", {}).policy.prices["tokens"]
    used = counts({"input": 1_000_000})

    def of(model: str, **more: str) -> Sheet:
        return sheet(rules, {"model": model, **more}, microseconds(TODAY))

    assert of("gpt-4.1", service_tier="priority").cost(used) > of("gpt-4.1").cost(used)
    for unknown in ({"service_tier": "scale"}, {"inference_geo": "us"}, {"speed": "fast"}):
        assert of("gpt-4.1", **unknown).unknown(used) == ["input"]
        assert of("my-model", **unknown).cost(used) == 10**9, "the policy's own price is for all of them"


def test_an_unknown_table_is_told_with_those_there_are() -> None:
    (problem,) = complaints("llm", {"table": "nobody"})
    assert "there is no table of that name; there are anthropic, " in problem


@pytest.mark.parametrize(
    "price", [{"table": "openai"}, {"price": "1", "longer": [{"above": 5, "price": "2"}]}]
)
def test_prices_of_models_are_for_tokens(price: Mapping[str, object]) -> None:
    (problem,) = complaints("app", price)
    assert problem.endswith("table and longer belong to meters with count: llm; remove them")


def test_a_kind_that_there_is_none_of_is_told() -> None:
    (problem,) = complaints("llm", {"price": "1", "when": {"kind": "imput"}})
    assert problem.endswith('no kind of token is called "imput"; did you mean "input"?')
    assert complaints("llm", {"price": "1", "when": {"kind": "*output"}}) == []
