"""What a provider can do is what its adapter has, and settings are there or say that they are missing."""

from pathlib import Path

import pytest

from metergate.errors import ConfigurationError
from metergate.provider_port import (
    CAPABILITIES,
    Checkout,
    Context,
    Misconfigured,
    Order,
    ProviderHealth,
    TryAgain,
    UnknownOutcome,
    capabilities,
    errors,
)
from metergate.provider_port.http import ask
from metergate.testing.clock import FakeClock
from metergate.testing.notes import NotesInMemory
from tests.ports import free_port
from tests.upstream.house import saying, serving

PAGE = (Path(__file__).parents[2] / "docs" / "providers.md").read_text(encoding="utf-8")


class Small:
    """Can do nothing but open a checkout."""

    live = False

    async def health(self) -> ProviderHealth:
        return ProviderHealth(ok=True)

    async def close(self) -> None: ...

    async def open_checkout(self, order: Order) -> Checkout:
        return Checkout(order.id, "https://pay.example")


def a_context(**settings: str) -> Context:
    return Context("foo", FakeClock(), ask, NotesInMemory(), settings)


def test_what_an_adapter_can_do_is_read_off_what_it_has() -> None:
    assert capabilities(Small()) == ("checkouts",)
    assert capabilities(object()) == ()


@pytest.mark.parametrize("settings", [{}, {"FOO_KEY": ""}, {"FOO_KEY": " \t"}])
def test_a_secret_that_is_missing_or_blank_refuses_to_start(settings: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="Set FOO_KEY, which the payment provider foo needs"):
        a_context(**settings).secret("FOO_KEY")
    with pytest.raises(ConfigurationError, match="Set FOO_KEY"):
        a_context(**settings).secrets("FOO_KEY")


def test_several_secrets_are_valid_at_once_and_none_of_them_is_blank() -> None:
    assert a_context(FOO_HOOK="old, new").secrets("FOO_HOOK") == ("old", "new")
    with pytest.raises(ConfigurationError, match="none of them blank"):
        a_context(FOO_HOOK="old,").secrets("FOO_HOOK")


def test_secrets_are_not_shown_with_the_context() -> None:
    assert "sk_live_1" not in repr(a_context(FOO_KEY="sk_live_1"))


@pytest.mark.parametrize("name", CAPABILITIES)
def test_the_page_for_writers_of_adapters_names_every_capability(name: str) -> None:
    assert f"| {name} | `{CAPABILITIES[name].__name__}` |" in PAGE


@pytest.mark.parametrize("name", [name for name in vars(errors) if name[0].isupper() and "Error" not in name])
def test_the_retry_table_has_every_error_of_a_provider(name: str) -> None:
    if name != "PaymentFailed":
        assert f"| `{name}` |" in PAGE


async def test_a_provider_that_cannot_be_reached_has_done_nothing() -> None:
    with pytest.raises(TryAgain, match="cannot be reached"):
        await ask("POST", f"http://127.0.0.1:{free_port()}/v1/refunds")


async def test_what_was_sent_and_not_answered_may_have_been_done() -> None:
    for half in (b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"):
        async with serving(saying(half)) as provider:
            with pytest.raises(UnknownOutcome, match="did not answer to the end"):
                await ask("POST", f"http://127.0.0.1:{provider.port}/v1/refunds", body=b"{}")


async def test_secrets_do_not_travel_in_the_clear() -> None:
    with pytest.raises(Misconfigured, match="Use https to reach"):
        await ask("POST", "http://pay.example/v1/refunds")
