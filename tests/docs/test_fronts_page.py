"""The page about fronts: its commands work, and the configurations that it shows are whole."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

from metergate.asgi import forward_auth
from metergate.core.policy import Policy
from metergate.core.refusal import REASONS
from metergate.testing.asgi import fetch
from tests.asking import AUTHZ, Front, fronted
from tests.docs.documents import of
from tests.fronts.house import yaml_of
from tests.house.rules import ROOT
from tests.shell import CENT

ELSEWHERE = {403, 408, 414, 431, 500, 502, 504}
"""What needs no line of its own, and what the front itself says."""


async def typed(front: Front, command: str, **variables: str) -> Any:
    """What a curl line of the page gets from the admin side."""
    for name, value in {"METERGATE_AUTHZ_TOKEN": AUTHZ, **variables}.items():
        command = command.replace(f"${name}", value)
    words = shlex.split(command.replace("\\\n", " "))
    assert words[:3] == ["curl", "-X", "POST"]
    options = list(zip(words[4::2], words[5::2], strict=True))
    headers = [tuple(value.split(": ", 1)) for option, value in options if option == "-H"]
    [body] = [value for option, value in options if option == "-d"]
    path = words[3].removeprefix("http://127.0.0.1:8081")
    answer = await fetch(front.app, "POST", path, headers=headers, body=body.encode())  # type: ignore[arg-type]  # pairs
    assert answer.status == 200, answer.body
    return answer.json()


async def test_hold_and_settle_work_as_typed(tmp_path: Path) -> None:
    hold, settle = [block.text for block in of("sh", "docs/fronts.md")]
    async with fronted(tmp_path) as (front, shell):
        held = await typed(front, hold, KEY=front.key)
        assert held["cost"]["amount"] == "0.04"
        settled = await typed(front, settle, HOLD=held["hold"])
        assert (settled["units"], await shell.settled()) == (3, 97 * CENT)
        other = await typed(front, hold, KEY=front.key)
        released = settle.replace("/settle", "/release").replace(', "units": 3', "")
        assert (await typed(front, released, HOLD=other["hold"]))["state"] == "released"


async def test_the_way_of_envoy_is_as_shown(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "fronts.md").read_text(encoding="utf-8")
    [(method, behind)] = re.findall(r"`([A-Z]+) /authz/v1/forward(/\S+)`", text)
    async with fronted(tmp_path) as (front, shell):
        answer = await front.forward({"x-api-key": front.key}, method, behind)
        assert answer.status == 200
        assert [row["path"] for row in await shell.rows()] == ["/v1/images"]


def test_nginx_gives_every_refusal_its_status() -> None:
    """It cannot say a status that is not written down."""
    text = (ROOT / "deploy" / "nginx-auth-request.conf").read_text(encoding="utf-8")
    written = {int(code) for code in re.findall(r"\$metergate_status = (\d+)\) \{ return \1 ", text)}
    assert written == {reason.status for reason in REASONS.values()} - ELSEWHERE


def test_every_front_takes_the_key_away() -> None:
    """Wherever a key may stand, unless the policy says otherwise."""
    for name in ("nginx-auth-request.conf", "Caddyfile.forward-auth", "envoy-ext-authz.yaml"):
        text = (ROOT / "deploy" / name).read_text(encoding="utf-8").lower()
        for header in Policy("", {}, ()).key_headers:
            assert re.search(
                rf"(proxy_set_header {header}\s+\"\"|request_header -{header}\n|\[.*\b{header}\b.*\])", text
            )


def test_traefik_asks_in_the_right_order() -> None:
    """The token is there for the question, and gone with the key when the API is called."""
    http = yaml_of("traefik-forward-auth.yaml")["http"]
    token, asks, strips = [http["middlewares"][name] for name in http["routers"]["calls"]["middlewares"]]
    assert token["headers"]["customRequestHeaders"]["X-Original-Uri"] == ""
    assert asks["forwardAuth"]["address"].endswith(forward_auth.PATH)
    assert asks["forwardAuth"]["trustForwardHeader"] is False
    gone = {name.lower() for name, value in strips["headers"]["customRequestHeaders"].items() if value == ""}
    assert gone == {"metergate-token", *Policy("", {}, ()).key_headers}
    assert json.dumps(token).count("METERGATE_AUTHZ_TOKEN") == 1
