"""Idempotency-Key over HTTP: one charge, the same answer again, and a clear no where that cannot be."""

import asyncio
from pathlib import Path

import pytest

from metergate.testing.asgi import Receive, Scope, Send, fetch
from tests.shell import metered, policy, problem

KB = 1024


class Counting:
    """Says how often it was called, in an answer of the size that is asked for."""

    def __init__(self, size: int = 2, status: int = 200, kind: bytes = b"text/plain") -> None:
        self.calls = 0
        self.bodies: list[bytes] = []
        self.size = size
        self.status = status
        self.kind = kind
        self.wait: asyncio.Event | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.calls += 1
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body", False):
                break
        self.bodies.append(body)
        if self.wait is not None:
            await self.wait.wait()
        headers = [(b"content-type", self.kind), (b"x-call", b"%d" % self.calls)]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"%d" % self.calls, "more_body": True})
        await send({"type": "http.response.body", "body": b"." * (self.size - 1)})


async def test_a_repeated_call_gets_the_same_answer_and_costs_nothing_more(tmp_path: Path) -> None:
    """Status, headers and body; under every key of the account."""
    app = Counting()
    async with metered(app, tmp_path) as shell:
        other = str((await shell.engine.office.keys.create("acct"))["key"])
        first = await shell.fetch("POST", "/x?a=1", b"order", idempotency_key="k1")
        again = await shell.fetch("POST", "/x?a=1", b"order", key=other, idempotency_key="k1")
        assert (again.status, again.body) == (first.status, first.body)
        assert again.headers == [*first.headers, (b"idempotency-replayed", b"true")]
        assert first.header("idempotency-replayed") is None
        assert (app.calls, app.bodies) == (1, [b"order"])
        assert len(await shell.rows()) == 1
        assert (await shell.fetch("POST", "/x?a=1", b"order", idempotency_key="k2")).header("x-call") == "2"
        stranger = await shell.customer("stranger")
        theirs = await shell.fetch("POST", "/x?a=1", b"order", key=stranger, idempotency_key="k1")
        assert theirs.header("x-call") == "3"


@pytest.mark.parametrize(
    ("method", "target", "body"),
    [("POST", "/x", b"other"), ("PUT", "/x", b"order"), ("POST", "/x?b", b"order")],
)
async def test_the_same_key_for_another_request_is_a_mistake(
    tmp_path: Path, method: str, target: str, body: bytes
) -> None:
    async with metered(Counting(), tmp_path) as shell:
        assert (await shell.fetch("POST", "/x", b"order", idempotency_key="k")).status == 200
        answer = await shell.fetch(method, target, body, idempotency_key="k")
        assert answer.status == 422
        problem(answer, "idempotency_mismatch")
        assert len(await shell.rows()) == 1


@pytest.mark.parametrize(("size", "replayed"), [(64 * KB, True), (64 * KB + 1, False)])
async def test_answers_up_to_64_kb_are_kept(tmp_path: Path, size: int, replayed: bool) -> None:
    """Of a larger one the twin hears that it was done and charged once."""
    app = Counting(size)
    async with metered(app, tmp_path) as shell:
        first = await shell.fetch("POST", "/x", idempotency_key="k")
        assert len(first.body) == size
        again = await shell.fetch("POST", "/x", idempotency_key="k")
        if replayed:
            assert again.body == first.body
        else:
            assert again.status == 409
            assert "charged once" in problem(again, "idempotency_done")["detail"]
            assert again.header("x-should-retry") == "false"
        assert (app.calls, len(await shell.rows())) == (1, 1)


async def test_a_stream_is_not_kept(tmp_path: Path) -> None:
    app = Counting(kind=b"text/event-stream; charset=utf-8")
    async with metered(app, tmp_path) as shell:
        assert (await shell.fetch("POST", "/x", idempotency_key="k")).status == 200
        problem(await shell.fetch("POST", "/x", idempotency_key="k"), "idempotency_done")
        assert app.calls == 1


async def test_an_answer_outlives_the_process(tmp_path: Path) -> None:
    """A twin that comes after a restart is still a twin."""
    app = Counting()
    async with metered(app, tmp_path) as shell:
        key = shell.key
        first = await shell.fetch("POST", "/x", b"order", idempotency_key="k")
    async with metered(app, tmp_path, customer=False) as shell:
        again = await shell.fetch("POST", "/x", b"order", key=key, idempotency_key="k")
        assert again.headers == [*first.headers, (b"idempotency-replayed", b"true")]
        assert app.calls == 1


async def test_a_failed_call_may_be_tried_again(tmp_path: Path) -> None:
    """A 500 was released and charged nothing: the retry runs the app; a 404 is an answer like any other."""
    app = Counting(status=500)
    async with metered(app, tmp_path) as shell:
        assert (await shell.fetch("POST", "/x", idempotency_key="k")).status == 500
        app.status = 404
        assert (await shell.fetch("POST", "/x", idempotency_key="k")).status == 404
        app.status = 200
        assert (await shell.fetch("POST", "/x", idempotency_key="k")).status == 404
        assert (app.calls, len(await shell.rows())) == (2, 1)


async def test_twenty_twins_at_once_run_the_app_once(tmp_path: Path) -> None:
    """Those that come while it runs are told to wait; those after it get its answer."""
    app = Counting()
    app.wait = asyncio.Event()
    async with metered(app, tmp_path) as shell:
        twins = [asyncio.create_task(shell.fetch("POST", "/x", idempotency_key="k")) for _ in range(20)]
        waiting = set(twins)
        while len(waiting) > 1:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                answer = each.result()
                problem(answer, "idempotency_running")
                assert (answer.status, answer.header("retry-after")) == (409, "1")
                assert answer.header("x-should-retry") is None
        app.wait.set()
        (last,) = waiting
        assert (await last).body == b"1."
        assert (await shell.fetch("POST", "/x", idempotency_key="k")).body == b"1."
        assert (app.calls, len(await shell.rows())) == (1, 1)


@pytest.mark.parametrize("value", ["", " ", "x" * 256, "é", "tab\tinside"])
async def test_a_key_that_cannot_be_one(tmp_path: Path, value: str) -> None:
    app = Counting()
    async with metered(app, tmp_path) as shell:
        headers = [*dict(shell.headers()).items(), ("idempotency-key", value)]
        answer = await fetch(shell.app, "POST", "/x", headers=headers)
        assert answer.status == 400
        problem(answer, "bad_idempotency_key")
        assert app.calls == 0


async def test_two_idempotency_keys_are_none(tmp_path: Path) -> None:
    async with metered(Counting(), tmp_path) as shell:
        headers = [*dict(shell.headers()).items(), ("idempotency-key", "a"), ("idempotency-key", "b")]
        problem(await fetch(shell.app, "POST", "/x", headers=headers), "bad_idempotency_key")


@pytest.mark.parametrize(("size", "status"), [(1024 * KB, 200), (1024 * KB + 1, 413)])
async def test_a_body_is_read_up_to_1_mb_before_the_call(tmp_path: Path, size: int, status: int) -> None:
    """Without the header it may be as large as the app likes."""
    app = Counting()
    async with metered(app, tmp_path) as shell:
        answer = await shell.fetch("POST", "/x", b"x" * size, idempotency_key="k")
        assert answer.status == status
        if status == 413:
            problem(answer, "body_too_large")
        assert (await shell.fetch("POST", "/x", b"x" * size)).status == 200
        assert app.bodies[-1] == b"x" * size


async def test_a_client_that_leaves_while_it_sends_has_not_called(tmp_path: Path) -> None:
    """Half a body is no request: the app does not see it and nothing is charged."""
    app = Counting()
    async with metered(app, tmp_path) as shell:
        async with shell.request("POST", "/x", None, idempotency_key="k") as request:
            request.send(b"half an or")
            request.disconnect()
            await request.ended()
        assert (app.calls, await shell.rows()) == (0, [])
        assert (await shell.fetch("POST", "/x", b"half an order", idempotency_key="k")).status == 200


async def test_in_shadow_mode_the_app_answers_every_time(tmp_path: Path) -> None:
    """As it did before there was a gate; whatever the header says."""
    app = Counting()
    async with metered(app, tmp_path, policy(shadow=True)) as shell:
        for value in ("k", "k", "x" * 300):
            assert (await shell.fetch("POST", "/x", idempotency_key=value)).status == 200
        assert app.calls == 3
