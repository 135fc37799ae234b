"""What an upstream does wrong is told in the form that clients know, and what they did not get is free."""

import asyncio
import json
from typing import Any

import pytest

from tests.proxy.house import Gateway, Line, Log, body, get, header, status
from tests.waiting import until


def problem(answer: bytes) -> dict[str, Any]:
    assert header(answer, "content-type") == "application/problem+json"
    assert header(answer, "cache-control") == "no-store"
    told: dict[str, Any] = json.loads(body(answer))
    assert told["status"] == status(answer)
    assert told["request_id"] == header(answer, "metergate-request-id")
    assert told["error"]["code"] == told["reason"]
    return told


async def failing(proxy: Gateway, account: str, *, script: Any = None, prefix: str = "") -> dict[str, Any]:
    key = await proxy.customer(account)
    if script is None:
        answer = await proxy.say(get(f"{prefix}/a", key))
    else:
        async with proxy.upstream(script):
            answer = await proxy.say(get(f"{prefix}/a", key))
    assert await proxy.balance(account) == "1.00"
    assert await proxy.rows(account) == []
    assert str(proxy.upstream_port).encode() not in answer  # clients hear nothing of what is behind
    return problem(answer)


@pytest.mark.parametrize("prefix", ["", "/free", "/public"])
async def test_an_upstream_that_is_not_there_is_502(proxy: Gateway, prefix: str) -> None:
    """Whatever the route costs."""
    told = await failing(proxy, f"nobody{prefix.strip('/')}", prefix=prefix)
    assert (told["status"], told["reason"]) == (502, "upstream_unreachable")


async def test_one_that_hangs_up_before_it_answers_is_502(proxy: Gateway) -> None:
    """And is not asked again: it may have served the call."""
    log = Log()

    async def script(line: Line) -> None:
        log.heads.append(await line.head())

    told = await failing(proxy, "hung-up", script=script)
    assert told["reason"] == "upstream_unreachable"
    assert len(log.heads) == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    ],
)
async def test_one_that_makes_no_sense_is_502(proxy: Gateway, answer: bytes) -> None:
    told = await failing(proxy, f"nonsense-{len(answer)}", script=Log(answer))
    assert told["reason"] == "upstream_invalid"


async def test_an_answer_that_is_cut_is_cut_for_the_client_too(proxy: Gateway) -> None:
    """It cannot take half of it for the whole. What it was given is charged by the policy."""
    key = await proxy.customer("halved")

    async def script(line: Line) -> None:
        await line.head()
        await line.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")

    async with proxy.upstream(script):
        answer = await proxy.say(get("/bytes/a", key))
    assert body(answer) == b"4\r\nhalf\r\n"
    [row] = await proxy.rows("halved", at_least=1)
    assert (row["units"], row["measured"]) == (4, "cut")


async def test_an_answer_shorter_than_it_said_is_cut_too(proxy: Gateway) -> None:
    key = await proxy.customer("short")

    async def script(line: Line) -> None:
        await line.head()
        await line.say(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")

    async with proxy.upstream(script):
        answer = await proxy.say(get("/bytes/a", key))
    assert (header(answer, "content-length"), body(answer)) == ("10", b"half")


async def test_an_error_of_the_upstream_itself_passes_and_costs_nothing(proxy: Gateway) -> None:
    key = await proxy.customer("unlucky")
    async with proxy.upstream(Log(b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nbusy")):
        answer = await proxy.say(get("/a", key))
    assert (status(answer), header(answer, "retry-after"), body(answer)) == (503, "7", b"busy")
    assert await proxy.balance("unlucky") == "1.00"


async def test_calls_billed_are_calls_served(proxy: Gateway) -> None:
    """Over connections that the upstream closes as it pleases: each call is one, or none and not paid."""
    key = await proxy.customer("steady", "100.00")
    served: list[bytes] = []

    async def script(line: Line) -> None:
        for turn in range(7):
            head = await line.head()
            if not head:
                return
            if turn == 5:
                return  # hangs up on a call that it has read and not served
            served.append(head)
            await line.say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async def client() -> list[int]:
        return [status(await proxy.say(get("/a", key))) for _ in range(20)]

    async with proxy.upstream(script):
        answers = [each for told in await asyncio.gather(*[client() for _ in range(10)]) for each in told]
    assert answers.count(200) == len(served) < 200
    assert set(answers) == {200, 502}
    rows = await proxy.rows("steady", at_least=len(served))
    assert len(rows) == len(served) == len(set(served))
    ids = {header(head, "metergate-request-id") for head in served}
    assert {row["request_id"] for row in rows} == ids


async def test_what_goes_wrong_stands_in_the_log_once(proxy: Gateway) -> None:
    key = await proxy.customer_once()
    for _ in range(5):
        assert status(await proxy.say(get("/a", key))) == 502
    await until(lambda: b"takes no connection" in proxy.log.read_bytes())
    assert proxy.log.read_bytes().count(b"takes no connection") <= 2
    assert b"Traceback" not in proxy.log.read_bytes()
