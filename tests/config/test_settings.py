"""The environment: read once, documented, and strict about secrets."""

from pathlib import Path

import pytest

from metergate.config import settings
from metergate.config.settings import Settings
from metergate.errors import ConfigurationError
from tests.house import rules


def test_nothing_set() -> None:
    """Every setting has a default."""
    assert settings.read({}) == Settings(data=Path("metergate-data"), worker=True)


def test_everything_set() -> None:
    """Each variable reaches its field."""
    assert settings.read(
        {
            "METERGATE_POLICY": "p.yaml",
            "METERGATE_STORE": "redis://x",
            "METERGATE_LEDGER": "postgresql://x",
            "METERGATE_DATA": "data",
            "METERGATE_PEPPER": "old, new",
            "METERGATE_ADMIN_TOKEN": "token",
            "METERGATE_PROVIDER": "stripe",
            "METERGATE_WORKER": "off",
            "METERGATE_PUBLIC_URL": "https://api.example.com/v1/",
        }
    ) == Settings(
        policy="p.yaml",
        store="redis://x",
        ledger="postgresql://x",
        data=Path("data"),
        peppers=("old", "new"),
        admin_token="token",
        provider="stripe",
        worker=False,
        public_url="https://api.example.com/v1",
    )


@pytest.mark.parametrize(
    ("environ", "provider"),
    [
        ({"PAYMENT_PROVIDER": "square"}, "square"),
        ({"PAYMENT_PROVIDER": "square", "METERGATE_PROVIDER": "adyen"}, "adyen"),
        ({"PAYMENT_PROVIDER": "mock"}, "sandbox"),
        ({"METERGATE_PROVIDER": "", "PAYMENT_PROVIDER": "mock"}, "sandbox"),
    ],
)
def test_the_provider_of_older_systems_is_understood(environ: dict[str, str], provider: str) -> None:
    """Our own name comes first."""
    assert settings.read(environ).provider == provider


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("METERGATE_PEPPER", "", "Give METERGATE_PEPPER a value, or unset it"),
        ("METERGATE_PEPPER", " \n", "Give METERGATE_PEPPER a value, or unset it"),
        ("METERGATE_PEPPER", "a,,b", "Separate several secrets in METERGATE_PEPPER by one comma"),
        ("METERGATE_PEPPER", "a,", "Separate several secrets in METERGATE_PEPPER by one comma"),
        ("METERGATE_ADMIN_TOKEN", "", "Give METERGATE_ADMIN_TOKEN a value, or unset it"),
        ("METERGATE_WORKER", "maybe", "Set METERGATE_WORKER to on or off"),
        ("METERGATE_PUBLIC_URL", "api.example.com", "Set METERGATE_PUBLIC_URL to an address such as"),
        ("METERGATE_PUBLIC_URL", "https://[x", "Set METERGATE_PUBLIC_URL to an address such as"),
        ("METERGATE_PUBLIC_URL", "https://x/?a=b", "Set METERGATE_PUBLIC_URL to an address such as"),
        ("METERGATE_PUBLIC_URL", "http://api.example.com", "Use https in METERGATE_PUBLIC_URL"),
    ],
)
def test_a_setting_that_cannot_work(name: str, value: str, sentence: str) -> None:
    """One sentence that names the variable; a blank secret is never taken for none."""
    with pytest.raises(ConfigurationError, match=sentence):
        settings.read({name: value})


@pytest.mark.parametrize("url", ["http://localhost:8080", "http://127.0.0.1", "http://[::1]:8080"])
def test_plain_http_is_for_loopback(url: str) -> None:
    """Where nothing leaves the machine."""
    assert settings.read({"METERGATE_PUBLIC_URL": url}).public_url == url


def test_a_typing_error_is_noticed() -> None:
    """A misspelt secret would otherwise silently be a fresh one."""
    found = settings.unknown({"METERGATE_PEPER": "x", "METERGATE_DATA": "x", "PATH": "x"})
    assert found == ['Nothing reads METERGATE_PEPER; did you mean "METERGATE_PEPPER"?']


def test_secrets_do_not_show() -> None:
    """Settings may be printed."""
    shown = repr(Settings(store="s3cret", ledger="s3cret", peppers=("s3cret",), admin_token="s3cret"))
    assert "s3cret" not in shown


def test_every_setting_that_is_read_is_documented() -> None:
    """The table and the code name the same variables."""
    read = rules.settings(rules.read("metergate/config/settings.py"))
    ours = {name for name in settings.DOCUMENTED if name.startswith("METERGATE_")}
    assert set(read) == ours
