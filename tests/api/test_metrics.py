"""/metrics: what Prometheus reads, by its own parser."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from metergate.api import admin_app, metrics
from metergate.gate.watching import SAMPLED, Watch, numbers
from metergate.testing.asgi import Receive, Scope, Send
from metergate.testing.clock import FakeClock
from tests.admin.bench import Bench
from tests.api.client import TOKEN, Client, operator
from tests.shell import Shell, hello, metered, policy

Sample = tuple[str, tuple[tuple[str, str], ...]]
ROUTES = [
    {"match": "GET /public", "public": True},
    {"match": "GET /free", "free": True},
    {"match": "GET /watched", "meter": "requests", "shadow": True},
    {"match": "* /**", "meter": "requests"},
]


async def scraped(client: Client) -> Mapping[Sample, float]:
    answer = await client("GET", "/metrics")
    assert answer.status == 200
    assert answer.header("content-type") == "text/plain; version=0.0.4; charset=utf-8"
    return read(answer.body.decode())


def read(text: str) -> Mapping[Sample, float]:
    found = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation
        assert family.type in ("counter", "gauge", "histogram")
        for sample in family.samples:
            assert set(sample.labels) <= {"reason", "le", "policy", "provider", "outcome", "state", "age"}
            found[sample.name.removeprefix("metergate_"), tuple(sample.labels.items())] = sample.value
    return found


def one(found: Mapping[Sample, float], name: str, **labels: str) -> float:
    return found[name, tuple(labels.items())]


def of(shell: Shell) -> Client:
    return Client(admin_app(shell.engine.office.acting_as("admin"), TOKEN), "")


async def test_what_became_of_requests_is_counted(tmp_path: Path) -> None:
    async with metered(hello, tmp_path, policy(routes=ROUTES)) as shell:
        poor = await shell.customer("poor", "0.01")
        for path in ("/public", "/free", "/x", "/y"):
            assert (await shell.fetch("GET", path)).status == 200
        await shell.fetch("OPTIONS", "/x", key="", origin="https://a.b", access_control_request_method="GET")
        for path in ("/x", "/x", "/x", "/watched"):
            await shell.fetch("GET", path, key=poor)
        await shell.fetch("GET", "/x", key="")
        await shell.engine.office.usage.record("acct", "images", 2)
        found = await scraped(of(shell))
    assert one(found, "admitted_total") == 5  # three of the calls, the watched one, and the report
    assert one(found, "passed_total") == 3
    assert one(found, "refused_total", reason="insufficient_credits") == 2
    assert one(found, "refused_total", reason="key_missing") == 1
    assert one(found, "shadow_refused_total", reason="insufficient_credits") == 1


async def test_what_waits_is_a_gauge(tmp_path: Path) -> None:
    here, go = asyncio.Event(), asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        here.set()
        await go.wait()
        await hello(scope, receive, send)

    async with metered(slow, tmp_path, policy()) as shell:
        call = asyncio.ensure_future(shell.fetch("GET", "/x"))
        await here.wait()
        assert one(await scraped(of(shell)), "holds_open") == 1
        go.set()
        await call
        await shell.settled()
        found = await scraped(of(shell))
        assert (one(found, "holds_open"), one(found, "backlog_events")) == (0, 1)
        await shell.rows()
        found = await scraped(of(shell))
        assert (one(found, "backlog_events"), one(found, "events_posted_total")) == (0, 1)
        assert one(found, "events_set_aside_total") == one(found, "ledger_errors_total") == 0


async def test_nothing_names_a_customer(tmp_path: Path) -> None:
    """Whoever may see the numbers of a service learns nothing of those who use it."""
    async with metered(hello, tmp_path, policy()) as shell:
        assert (await shell.fetch("GET", "/secret")).status == 200
        text = (await of(shell)("GET", "/metrics")).body.decode()
    for name in ("acct", "secret", shell.key.split("_")[2]):
        assert name not in text


async def test_what_is_told_and_paid_by_itself_is_counted(tmp_path: Path) -> None:
    async with metered(hello, tmp_path, policy()) as shell:
        found = await scraped(of(shell))
        assert found["topups_total", (("outcome", "begun"),)] == 0
        assert found["notices_total", (("outcome", "delivered"),)] == 0


async def test_gates_of_one_process_are_counted_together(tmp_path: Path) -> None:
    async with metered(hello, tmp_path, policy()) as one_gate, metered(hello, tmp_path, policy()) as other:
        assert (await one_gate.fetch("GET", "/x")).status == 200
        assert (await other.fetch("GET", "/x", key=one_gate.key)).status == 200
        for shell in (one_gate, other):
            assert one(await scraped(of(shell)), "admitted_total") == 2


async def test_without_a_gate_there_are_gauges(bench: Bench) -> None:
    found = await scraped(operator(bench, ""))
    assert one(found, "holds_open") == one(found, "admitted_total") == 0
    assert one(found, "info", policy=bench.policy.version) == 1


@pytest.mark.parametrize(
    ("us", "le"), [(0, "3.2e-05"), (31, "3.2e-05"), (33, "6.4e-05"), (10**6, "1.048576"), (10**9, "+Inf")]
)
def test_every_wait_is_in_the_buckets_that_are_long_enough(us: int, le: str) -> None:
    clock = FakeClock()
    watch = Watch(clock)
    for _ in range(SAMPLED):
        since_us = clock()
        clock.advance(us=us)
        watch.turn(2, since_us)
    found = read(metrics.text({"policy": "", "open_holds": 0, "backlog": 0, **numbers([watch])}))
    assert one(found, "admitted_total") == 2 * SAMPLED
    assert one(found, "admission_seconds_count") == 2
    assert one(found, "admission_seconds_sum") == 2 * us / 10**6
    buckets = {dict(labels)["le"]: n for (name, labels), n in found.items() if name.endswith("_bucket")}
    assert next(bound for bound, n in buckets.items() if n) == le
    assert list(buckets.values()) == sorted(buckets.values())
    assert buckets["+Inf"] == 2


def test_a_clock_that_goes_back_is_no_wait() -> None:
    clock = FakeClock()
    watch = Watch(clock)
    for _ in range(SAMPLED):
        watch.turn(1, clock() + 10**6)
    assert numbers([watch])["waits"]["total_us"] == 0
