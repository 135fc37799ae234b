"""HTTP for adapters: whether something was sent is known, and nothing is sent where others could read."""

import pytest

from metergate.provider_port import Answer, Misconfigured, TryAgain
from metergate.provider_port.http import ask


@pytest.mark.parametrize(
    "url", ["http://pay.example.com/v1", "ftp://pay.example.com/", "http://127.0.0.1.evil/"]
)
async def test_plain_http_is_for_loopback_alone(url: str) -> None:
    with pytest.raises(Misconfigured, match="Use https"):
        await ask("POST", url, body=b"secret")


async def test_where_nobody_listens_nothing_was_done() -> None:
    with pytest.raises(TryAgain, match="cannot be reached"):
        await ask("POST", "http://127.0.0.1:1/")


async def test_what_stands_in_an_address_to_let_us_in_is_in_no_error() -> None:
    with pytest.raises(TryAgain) as refused:
        await ask("POST", "http://us:secret@127.0.0.1:1/v3/secret?key=secret")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("told", "after_s"), [("120", 120.0), (" 3 ", 3.0), ("", 0.0), ("soon", 0.0), ("-1", 0.0), ("²", 0.0)]
)
def test_how_long_to_wait_is_a_number_of_seconds_or_nothing(told: str, after_s: float) -> None:
    assert Answer(429, {"retry-after": told}, b"").after_s == after_s
    assert Answer(429, {}, b"").after_s == 0
