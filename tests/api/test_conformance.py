"""Both APIs do what their descriptions say, for inputs nobody thought of: schemathesis asks a service."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.proxy.house import Gateway, gateway

SCHEMATHESIS = str(Path(sys.executable).with_name("schemathesis"))
LEFT_OUT = "positive_data_acceptance,ignored_auth"
"""What a description allows may not fit the policy, such as a meter that it does not have; and the second one
guesses tokens until nobody is listened to, see tests/security."""
ANY_METHOD = "/authz/v1/forward"
"""It stands for the request that is asked about, with whatever method that has."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with gateway(tmp_path_factory.mktemp("service")) as made:
        yield made


def asked(url: str, secret: str, examples: int, folder: Path) -> str:
    """What schemathesis says after it has asked whatever it can think of, always with the same seed."""
    done = subprocess.run(
        [
            SCHEMATHESIS, "run", url, "--header", f"Authorization: Bearer {secret}", "--seed", "1",
            "--phases", "coverage,fuzzing,stateful", "--max-examples", str(examples),
            "--exclude-checks", LEFT_OUT, "--exclude-path", ANY_METHOD,
            "--generation-with-security-parameters", "false", "--generation-deterministic",
            "--no-color", "--warnings", "off", "--request-timeout", "20",
        ],
        capture_output=True, text=True, check=False, cwd=folder, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    return done.stdout


def test_the_operators_side_is_as_it_is_described(service: Gateway, tmp_path: Path) -> None:
    """No 5xx, no status, type or body that is not in the description, no crooked input that is taken."""
    token = (service.data / "admin-token").read_text().strip()
    said = asked(f"http://127.0.0.1:{service.admin_port}/openapi.json", token, 3, tmp_path)
    assert "passed" in said


async def test_the_customers_side_is_as_it_is_described(service: Gateway, tmp_path: Path) -> None:
    """The same, as a customer."""
    key = await service.customer("ada", "5.00")
    said = asked(f"{service.url}/billing/v1/openapi.json", key, 15, tmp_path)
    assert "passed" in said


async def test_the_books_are_in_order_afterwards(service: Gateway) -> None:
    """Whatever was asked of them."""
    assert (await service.ask("verify"))["ok"]
