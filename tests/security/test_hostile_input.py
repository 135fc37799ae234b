"""What somebody sends to be stored, shown, unpacked or compared does no more than any other input."""

import csv
import io
import time
import zlib
from pathlib import Path

import hiredis
import pytest

from metergate.admin import strict_json
from metergate.cli import show
from metergate.cli.export import COLUMNS, _csv
from metergate.config import secret_files
from metergate.config.settings import Settings
from metergate.core import match
from metergate.core.policy import Policy, Upstream
from metergate.errors import ConfigurationError, InvalidInput
from metergate.ledger import Ledger
from metergate.meters.encodings import FREE, RATIO_MAX, Unpacking
from metergate.testing.asgi import Scope, fetch
from metergate_redis import address
from metergate_redis.link import without
from tests.shell import PLAIN, hello, metered

PLANTED = "pl4nted"


def test_a_name_that_comes_last_and_twice_is_found_at_once() -> None:
    """A megabyte of names is compared in one pass, not each with each."""
    names = ",".join(f'"{n:x}":0' for n in range(80_000))
    started = time.process_time()
    with pytest.raises(InvalidInput, match="once"):
        strict_json.decode(f'{{{names},"1387f":0}}'.encode())
    assert time.process_time() - started < 5


def packed(size: int) -> bytes:
    packer = zlib.compressobj(wbits=31)
    parts = [packer.compress(b"\0" * 2**20) for _ in range(size // 2**20)]
    return b"".join([*parts, packer.flush()])


def test_a_stream_that_unpacks_to_more_than_it_could_say_is_left() -> None:
    """256 MB in a quarter of one: what is not looked at is not unpacked, also not piece by piece."""
    bomb = packed(2**28)
    unpacking = Unpacking((31,))
    found = sum(
        len(piece) for n in range(0, len(bomb), 4096) for piece in unpacking.pieces(bomb[n : n + 4096])
    )
    assert FREE <= found <= FREE + RATIO_MAX * len(bomb) + 2**16 < 2**27


def test_a_stream_of_ordinary_text_is_unpacked_whole() -> None:
    """Repeated events are packed tightly, and are no bomb."""
    text = b"".join(b'data: {"choices":[{"delta":{"content":"word %d"}}]}\n\n' % n for n in range(100_000))
    packer = zlib.compressobj(wbits=31)
    body = packer.compress(text) + packer.flush()
    assert b"".join(Unpacking((31,)).pieces(body)) == text


ROW = dict.fromkeys(COLUMNS, "x") | {"cost": {"amount": "1", "currency": "USD"}, "dimensions": None}


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", '=HYPERLINK("http://evil")'])
def test_no_cell_of_an_export_is_a_formula(cell: str) -> None:
    """A spreadsheet would run it."""
    out = io.StringIO(newline="")
    _csv(out)({**ROW, "service": cell, "units": -5})
    _, row = csv.reader(io.StringIO(out.getvalue(), newline=""))
    assert row[COLUMNS.index("service")] == f"'{cell}"
    assert row[COLUMNS.index("units")] == "-5"


@pytest.mark.parametrize("unseen", ["\x1b[2J", "\x9b2J", "\u202e", "\u2028", "\x07", "\ud800"])
def test_a_terminal_is_shown_and_never_told(unseen: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What customers choose reaches the operator's screen."""
    told = {"at": "now", "reason": "", "shadow": False, "account": "a", "route": "* /**", "cost": None}
    show.decision({**told, "path": f"/x{unseen}", "request_id": "r"})
    show.facts({"path": f"/x{unseen}"})
    show.as_json({"path": f"/x{unseen}", "name": "Zoë"})
    said = capsys.readouterr().out
    assert unseen not in said
    assert "Zoë" in said
    assert all(line.isprintable() for line in said.split("\n"))


@pytest.mark.parametrize(
    "hidden", ["%C2%9B2J", "%C2%85", "%E2%80%A8", "%E2%80%A9", "%1B", "%0A", "%7F", "%00"]
)
def test_no_path_holds_a_control(hidden: str) -> None:
    """It would stand in logs, usage rows and terminals."""
    assert match.canonical(f"/x{hidden}".encode()).problem


@pytest.mark.parametrize(
    "name", ["x-http-method-override", "x-http-method", "x-method-override", "x_http_method_override"]
)
async def test_no_header_changes_the_method_that_was_charged(tmp_path: Path, name: str) -> None:
    """A preflight is free, and an app may believe the header; a longer name is none of ours."""
    seen: list[list[tuple[bytes, bytes]]] = []

    async def app(scope: Scope, receive: object, send: object) -> None:
        seen.append(scope["headers"])
        await hello(scope, receive, send)  # type: ignore[arg-type]  # passed on as they came

    async with metered(app, tmp_path, PLAIN) as shell:
        more = {name.replace("-", "_"): "DELETE", "x_http_method_overrides": "kept"}
        for _ in range(2):
            assert (await fetch(shell.app, "GET", "/x", headers=shell.headers(None, **more))).status == 200
        preflight = {"origin": "https://a.example", "access_control_request_method": "GET"}
        asked = shell.headers("", **more, **preflight)
        assert (await fetch(shell.app, "OPTIONS", "/x", headers=asked)).status == 200
    assert [b"DELETE" in dict(headers).values() for headers in seen] == [False] * 3
    assert all(dict(headers)[b"x-http-method-overrides"] == b"kept" for headers in seen)


# -- secrets in addresses ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://ada:{PLANTED}@127.0.0.1:1/x",
        f"postgresql://ada:a@{PLANTED}@127.0.0.1:1/x",
        f"postgresql://ada:a/{PLANTED}@127.0.0.1:1/x",
        f"postgresql://ada:a?{PLANTED}@127.0.0.1:1/x",
        f"postgresql://ada:a#{PLANTED}@127.0.0.1:1/x",
        f"postgresql://ada:a:{PLANTED}@127.0.0.1:1/x",
        f"postgresql://ada@127.0.0.1:1/x?password={PLANTED}",
        f"postgresql://ada@127.0.0.1:1/x?sslpassword={PLANTED}",
        f"postgresql://ada@127.0.0.1:{PLANTED}/x",
        f"mysql://ada:{PLANTED}@127.0.0.1/x",
        PLANTED,
    ],
)
def test_no_secret_of_a_ledgers_address_is_told(url: str) -> None:
    """Whatever is wrong with it, and whatever the driver says of that."""
    try:
        ledger = Ledger.open(url)
    except ConfigurationError as error:
        said = str(error)
    else:
        health = ledger.health()
        assert not health.ok
        said = f"{ledger.name} {health}"
        ledger.close()
    assert PLANTED not in said


@pytest.mark.parametrize(
    "url",
    [
        f"redis://ada:{PLANTED}@127.0.0.1/0",
        f"redis://:a@{PLANTED}@127.0.0.1/0",
        f"redis://:a/{PLANTED}@127.0.0.1/0",
        f"redis://:1/{PLANTED}@127.0.0.1/0",
        f"redis://:a?{PLANTED}@127.0.0.1/0",
        f"redis://:1?{PLANTED}@127.0.0.1/0",
        f"redis://:a#{PLANTED}@127.0.0.1/0",
        f"redis://:a:{PLANTED}@127.0.0.1/0",
        f"redis://127.0.0.1:{PLANTED}/0",
        f"redis://127.0.0.1/{PLANTED}",
        f"redis+sentinel://h/s/0?sentinel_password={PLANTED}&sentinel_username={PLANTED}",
        f"redis+{PLANTED}://h",
    ],
)
def test_no_secret_of_a_stores_address_is_told(url: str) -> None:
    """An address that cannot be read may be one whose password should have been escaped."""
    try:
        said = repr(address.parse(url))
    except ConfigurationError as error:
        said = str(error)
    assert PLANTED not in said


def test_a_server_that_repeats_the_password_is_not_quoted() -> None:
    """One whose AUTH has another name answers with what it was sent."""
    reply = hiredis.ReplyError(f"ERR unknown command 'AUTH', with args beginning with: 'ada' '{PLANTED}'")
    assert PLANTED not in str(without(PLANTED, reply))
    assert without(PLANTED, b"OK") == b"OK"


def test_no_value_that_holds_secrets_shows_them() -> None:
    """Where one is printed by mistake, or by a debugger's report."""
    upstream = Upstream("https://api.example.com", (("Authorization", PLANTED),))
    policy = Policy("v", {}, (), store=PLANTED, ledger=PLANTED, upstreams={"": upstream})
    settings = Settings(
        store=PLANTED, ledger=PLANTED, peppers=(PLANTED,), admin_token=PLANTED, authz_token=PLANTED
    )
    assert PLANTED not in f"{policy} {policy!r} {settings} {settings!r}"


# -- the data folder ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_secret_that_others_can_read_is_not_used(tmp_path: Path, mode: int) -> None:
    """It is no secret any more, and the operator hears how to mend it."""
    (tmp_path / "pepper").write_text("x" * 64)
    (tmp_path / "pepper").chmod(mode)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        secret_files.kept(tmp_path, "pepper")


def test_a_secret_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    """Also where the folder is open to all, and under any umask; a link that waits there is not followed."""
    target = tmp_path / "elsewhere"
    (tmp_path / "pepper").symlink_to(target)
    with pytest.raises(ConfigurationError):
        secret_files.kept(tmp_path, "pepper")
    assert not target.exists()
    kept = secret_files.kept(tmp_path, "admin-token")
    assert len(kept) == 64
    assert (tmp_path / "admin-token").stat().st_mode & 0o777 == 0o600
