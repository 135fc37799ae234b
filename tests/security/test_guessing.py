"""Who tries key after key at the data port is slowed down, and nobody else is."""

import secrets
from pathlib import Path

from metergate.core import keys
from metergate.gate.members import WRONG_AT_ONCE
from metergate.testing.asgi import fetch
from tests.security.test_attacks import gated
from tests.shell import Shell, problem

HERE, ELSEWHERE = ("192.0.2.7", 1), ("198.51.100.9", 1)


async def show(
    shell: Shell, key: str, client: tuple[str, int] = HERE, target: str = "/x", **more: str
) -> str:
    """The reason of a refusal, or nothing where the key is served."""
    answer = await fetch(shell.app, "GET", target, headers={"x-api-key": key, **more}, client=client)
    return "" if answer.status == 200 else str(answer.json()["reason"])


async def guess(shell: Shell, client: tuple[str, int] = HERE, **more: str) -> list[str]:
    """What so many unknown keys are told, each another one."""
    unknown = [keys.mint("live", secrets.token_bytes) for _ in range(WRONG_AT_ONCE + 3)]
    return [await show(shell, key, client, **more) for key in unknown]


async def test_who_tries_key_after_key_has_to_wait(tmp_path: Path) -> None:
    """At all doors, and for its own address alone; whom we know there goes on."""
    async with gated(tmp_path) as shell:
        other = (await shell.engine.office.keys.create("acct"))["key"]
        assert await guess(shell) == ["key_invalid"] * WRONG_AT_ONCE + ["too_many_wrong_keys"] * 3
        answer = await fetch(shell.app, "GET", "/x", headers={"x-api-key": other}, client=HERE)
        told = problem(answer, "too_many_wrong_keys")
        assert told["status"] == 429 and 0 < int(answer.header("retry-after") or 0) <= 3
        for target in ("/billing/v1/credits", "/nothing/like/it"):
            assert await show(shell, other, target=target) == "too_many_wrong_keys"
        assert await show(shell, other, ELSEWHERE) == ""
        assert await show(shell, other) == ""  # known by now


async def test_an_address_with_customers_behind_it_is_listened_to(tmp_path: Path) -> None:
    """A wrong key of one of them locks nobody out: an office, or a proxy in front, is one address."""
    async with gated(tmp_path) as shell:
        assert await show(shell, shell.key) == ""
        assert set(await guess(shell)) == {"key_invalid"}


async def test_a_trusted_proxy_is_not_taken_for_its_clients(tmp_path: Path) -> None:
    """Whom the first of the trusted proxies names is who guesses; what that one says is hearsay."""
    async with gated(tmp_path, serve={"trusted_proxies": ["10.0.0.0/8"]}) as shell:
        proxy = ("10.0.0.1", 1)
        bad, good = (
            {"x-forwarded-for": "1.2.3.4, 192.0.2.7, 10.0.0.2"},
            {"x-forwarded-for": "192.0.2.7, 192.0.2.8"},
        )
        assert (await guess(shell, proxy, **bad))[-1] == "too_many_wrong_keys"
        assert await show(shell, keys.mint("live", secrets.token_bytes), proxy, **good) == "key_invalid"
        assert await show(shell, keys.mint("live", secrets.token_bytes), HERE) == "too_many_wrong_keys"
        assert set(await guess(shell, proxy)) == {"key_invalid"}  # it names nobody
