"""A key that has its places is of no use anywhere else."""

from pathlib import Path

from metergate.testing.asgi import WebSocket, fetch
from tests.security.test_attacks import gated
from tests.security.test_guessing import show
from tests.shell import Shell

OFFICE, HOME, SIX = ("192.0.2.7", 1), ("198.51.100.9", 1), ("2001:db8:0:1::7", 1)
NETWORKS = ["192.0.2.0/24", "2001:db8:0:1::/64"]


async def placed(shell: Shell) -> str:
    return str((await shell.engine.office.keys.create("acct", networks=NETWORKS))["key"])


async def test_a_key_is_served_in_its_places_alone(tmp_path: Path) -> None:
    """Also a moment after it was served in one, where nothing is held, and at the customer's own side."""
    async with gated(tmp_path) as shell:
        key = await placed(shell)
        for target in ("/x", "/free/x", "/billing/v1/credits", "/x"):
            for place in (OFFICE, SIX, ("::ffff:192.0.2.9", 1)):
                assert await show(shell, key, place, target) == "", (target, place)
            for place in (HOME, ("2001:db8:0:2::7", 1), ("::ffff:198.51.100.9", 1)):
                assert await show(shell, key, place, target) == "key_elsewhere", (target, place)
            answer = await fetch(shell.app, "GET", target, headers={"x-api-key": key}, client=None)
            assert answer.status == 403, "nobody knows where it was shown"
        assert await show(shell, shell.key, HOME) == ""


async def test_a_key_that_takes_its_place_has_the_same_places(tmp_path: Path) -> None:
    async with gated(tmp_path) as shell:
        rotated = await shell.engine.office.keys.rotate((await placed(shell))[8:18])
        assert rotated["networks"] == NETWORKS
        assert await show(shell, rotated["key"], HOME) == "key_elsewhere"


async def test_what_a_client_says_of_its_address_opens_nothing(tmp_path: Path) -> None:
    """Unless a trusted proxy says it."""
    proxy = ("10.0.0.1", 1)
    async with gated(tmp_path, serve={"trusted_proxies": ["10.0.0.0/8"]}) as shell:
        key = await placed(shell)
        said = {"x-forwarded-for": "192.0.2.7"}
        assert await show(shell, key, HOME, **said) == "key_elsewhere"
        assert await show(shell, key, proxy, **said) == ""
        assert (
            await show(shell, key, proxy, **{"x-forwarded-for": "192.0.2.7, 198.51.100.9"}) == "key_elsewhere"
        )


async def test_no_socket_opens_elsewhere(tmp_path: Path) -> None:
    async with gated(tmp_path) as shell:
        headers = {"authorization": f"Bearer {await placed(shell)}"}
        async with WebSocket(shell.app, "/x", headers=headers, client=HOME) as socket:
            refused = await socket.accepted()
        assert refused is not None and refused.json()["reason"] == "key_elsewhere"
