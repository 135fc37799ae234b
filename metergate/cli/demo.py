"""The demo: a paid AI API on this machine, played over real HTTP from the first call to the ledger."""

import asyncio
import contextlib
import http.client
import json
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import click

from metergate.bootstrap import Gateway, admin_app
from metergate.cli import demo_servers, serving, show
from metergate.cli.demo_app import policy
from metergate.config.secret_files import admin_token
from metergate.config.settings import Settings
from metergate.provider_port.http import ask
from metergate.testing.fake_ai import FakeAI

ACCOUNT = "acme"
CREDITS = "1.00"
TOP_UP = "0.50"
CARD = "4242424242424242"
CREDITED_TRIES = 400
PAID_CALLS = 4
CHAT = "/v1/chat/completions"
QUESTION = {"model": "demo", "messages": [{"role": "user", "content": "What is a 402?"}]}
STREAMED = {**QUESTION, "stream": True}


class Reply(NamedTuple):
    status: int
    body: Any
    """What the JSON says; of a stream, its events."""
    headers: Mapping[str, str]


class Side:
    """A server as its clients see it."""

    def __init__(self, url: str, secret: str) -> None:
        self.url = url
        self._secret = secret

    async def ask(self, method: str, path: str, body: object = None) -> Reply:
        return await asyncio.to_thread(self._ask, method, path, body)

    def _ask(self, method: str, path: str, body: object) -> Reply:
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=10)
        headers = {"authorization": f"Bearer {self._secret}", "content-type": "application/json"}
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            said = answer.read()
            streamed = found.get("content-type", "").startswith("text/event-stream")
            return Reply(answer.status, _events(said) if streamed else json.loads(said or b"null"), found)
        finally:
            connection.close()


def _events(stream: bytes) -> list[Any]:
    data = [line.removeprefix("data: ") for line in stream.decode().splitlines() if line.startswith("data: ")]
    return [json.loads(each) for each in data if each != "[DONE]"]


class Checks:
    """What the demo promises, and whether it was so."""

    def __init__(self) -> None:
        self.broken: list[str] = []

    def __call__(self, promise: str, *, kept: bool) -> None:
        if not kept:
            self.broken.append(promise)


async def play(*, script: bool, port: int, admin_port: int, redis: bool) -> bool:
    """Play it; whether everything was as promised. Without `script` it then stays up for a person."""
    port, admin_port = (0, 0) if script else (port, admin_port)
    with tempfile.TemporaryDirectory(prefix="metergate-demo-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        settings = Settings(data=folder / "data")
        fake = serving.server(FakeAI(), serving.bound("127.0.0.1", 0))
        rules = policy(fake.url, folder)
        servers = [fake]
        bound = serving.bound("127.0.0.1", port)
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        known = stack.enter_context(demo_servers.sandbox(url))
        if redis:
            bound.close()
            settings = stack.enter_context(demo_servers.shared(folder))
        settings = replace(settings, public_url=url, environ=known)
        if redis:
            stack.enter_context(demo_servers.processes(settings, rules, bound_port(url)))
        else:
            servers.append(serving.server(Gateway(rules, settings=settings), bound))
        token = admin_token(settings, settings.data)
        office = admin_app(rules, settings=settings)
        admin_side = serving.server(office, serving.bound("127.0.0.1", admin_port, "--admin-port"))
        async with serving.running([*servers, admin_side]) as ended:
            admin = Side(admin_side.url, token)
            made = await _open_account(admin)
            customer = Side(url, made["key"])
            _introduce(Places(url, admin.url, fake.url, rules, settings), made["key"], token)
            checks = Checks()
            await _story(customer, admin, checks)
            for promise in checks.broken:
                click.echo(f"NOT AS PROMISED: {promise}", err=True)
            if not script:
                click.echo("\nIt stays up for you: try the lines above. Ctrl-C ends it and removes its data.")
                await ended.wait()
    return not checks.broken


async def _open_account(admin: Side) -> dict[str, Any]:
    await admin.ask("POST", "/admin/v1/accounts", {"id": ACCOUNT})
    await admin.ask("POST", "/admin/v1/grants", {"account": ACCOUNT, "amount": CREDITS, "id": "first"})
    made: dict[str, Any] = (await admin.ask("POST", "/admin/v1/keys", {"account": ACCOUNT})).body
    return made


class Places(NamedTuple):
    """Where everything is."""

    url: str
    admin: str
    upstream: str
    policy: Path
    settings: Settings


def bound_port(url: str) -> int:
    return urlsplit(url).port or 0


def _introduce(places: Places, key: str, token: str) -> None:
    bearer = "-H 'Authorization: Bearer"
    url, settings = places.url, places.settings
    shared = (
        f"The processes  {demo_servers.PROCESSES}\nThe store      {settings.store}\n"
        f"The ledger     {settings.ledger}\n"
        if settings.store
        else ""
    )
    top_up = json.dumps({"amount": "5.00"})
    click.echo(f"""\
The paid API   {url}   (the proxy in front of a fake AI at {places.upstream})
The admin side {places.admin}
A key          {key}   (account {ACCOUNT}, {CREDITS} USD)
The policy     {places.policy}
The data       {settings.data}
{shared}
curl {url}{CHAT} {bearer} {key}' -d '{json.dumps(QUESTION)}'
curl -N {url}{CHAT} {bearer} {key}' -H 'x-fake: slow=0.1' -d '{json.dumps(STREAMED)}'
curl {url}/billing/v1/credits {bearer} {key}'
curl {url}/billing/v1/checkout {bearer} {key}' -H 'Content-Type: application/json' -d '{top_up}'

The last one answers the address of a page to pay on: 4242424242424242 pays, 4000000000000002 is declined.
Admin token    {token}
""")


async def _story(customer: Side, admin: Side, checks: Checks) -> None:
    for number in range(PAID_CALLS):
        question = STREAMED if number % 2 else QUESTION
        checks(f"call {number + 1} is served", kept=await _call(customer, question) == 200)
    refusal = await customer.ask("POST", CHAT, QUESTION)
    _tell("POST", CHAT, refusal, refusal.body.get("detail", ""))
    show.as_json(refusal.body)
    checks("the call after the last credit is refused with 402", kept=refusal.status == 402)
    reason = refusal.body.get("reason")
    checks("the refusal names its reason", kept=reason == "insufficient_credits")

    await _top_up(customer, refusal.body.get("top_up_url", ""), checks)
    checks("the next call is served", kept=await _call(customer, QUESTION) == 200)
    await _books(customer, admin, checks)


async def _top_up(customer: Side, where: str, checks: Checks) -> None:
    """Pay where the refusal says, on the provider's page; the provider tells us that it was paid."""
    click.echo(f"\nThe customer buys {TOP_UP} USD where the refusal says, and pays on the provider's page.")
    bought = await customer.ask("POST", where, {"amount": TOP_UP})
    url = bought.body.get("url") or ""
    _tell("POST", where, bought, url)
    checks("the refusal leads to a page to pay on", kept=bought.status == 201 and bool(url))
    page = await ask("POST", url, body=f"card={CARD}".encode())
    _tell_page(page.status, url)
    credited = await _credited(customer)
    paid = await customer.ask("GET", f"/billing/v1/payments/{bought.body.get('id')}")
    _tell("GET", f"/billing/v1/payments/{bought.body.get('id')}", paid, str(paid.body.get("state")))
    checks("what was paid is credited", kept=credited and paid.body.get("state") == "succeeded")


async def _credited(customer: Side) -> bool:
    """Wait for the webhook, and what follows from it."""
    for _ in range(CREDITED_TRIES):
        balance = (await customer.ask("GET", "/billing/v1/credits")).body["balance"]["nanos"]
        if balance > 0:
            return True
        await asyncio.sleep(0.05)
    return False


def _tell_page(status: int, url: str) -> None:
    click.echo(f"{status}  POST {url}  the card {CARD}")


async def _call(customer: Side, question: Mapping[str, Any]) -> int:
    reply = await customer.ask("POST", CHAT, question)
    more = ""
    if reply.status == 200 and question is STREAMED:
        parts = [choice["delta"].get("content") for event in reply.body for choice in event["choices"]]
        more = f"{len(reply.body)} events: {''.join(filter(None, parts))}"
    elif reply.status == 200:
        more = (
            f"{reply.body['usage']['total_tokens']} tokens: {reply.body['choices'][0]['message']['content']}"
        )
    _tell("POST", CHAT, reply, more)
    return reply.status


async def _books(customer: Side, admin: Side, checks: Checks) -> None:
    ledger = (await admin.ask("GET", f"/admin/v1/ledger?account={ACCOUNT}")).body
    click.echo("\nThe ledger, the newest first:")
    show.ledger(ledger)
    sums = [sum(entry["amount"]["nanos"] for entry in each["entries"]) for each in ledger["data"]]
    checks("every transaction sums to zero", kept=bool(sums) and not any(sums))

    usage = (await admin.ask("GET", f"/admin/v1/usage?account={ACCOUNT}")).body["data"]
    checks("every served call is one usage row", kept=len(usage) == PAID_CALLS + 1)
    credits = (await customer.ask("GET", "/billing/v1/credits")).body
    click.echo(f"\n{len(usage)} calls were charged, and {show.cell(credits['balance'])} is left.")
    checks("0.25 USD is left", kept=credits["balance"]["nanos"] == 250_000_000)

    verified = (await admin.ask("GET", "/admin/v1/verify")).body
    show.verified(verified)
    checks("the ledger verifies", kept=verified["ok"])


def _tell(method: str, path: str, reply: Reply, more: str) -> None:
    click.echo(f"{reply.status}  {method} {path}  {more}".rstrip())
