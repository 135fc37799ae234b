"""AI calls behind MeterGate: held by what they ask, settled to what they used, whatever goes wrong."""

import asyncio
import json
import zlib
from pathlib import Path
from typing import Any

import pytest

from metergate.gate.bodies import Bodies
from metergate.meters.reading import in_steps
from metergate.testing.asgi import Answer, Message, Receive, Scope, Send
from metergate.testing.fake_ai import FakeAI
from tests.shell import Shell, metered, policy, problem

CHAT = "/v1/chat/completions"
INPUT, OUTPUT = 2_000, 10_000
"""Nanos a token."""


def rules(**route: Any) -> dict[str, Any]:
    """Every path is an AI call of the model `fake`."""
    return policy(
        meters={"tokens": {"count": "llm"}},
        prices={
            "tokens": [
                {"when": {"model": "fake*", "kind": "input"}, "price": "2.00", "per": 1_000_000},
                {"when": {"model": "fake*", "kind": "output"}, "price": "10.00", "per": 1_000_000},
            ]
        },
        routes=[{"match": "* /**", "meter": "tokens", **route}],
    )


def question(words: int = 5, **more: Any) -> dict[str, Any]:
    return {"model": "fake", "messages": [{"role": "user", "content": f"Say {words} words"}], **more}


PROMPT = 6
"""Tokens of the question, as the fake counts them."""


def body(said: dict[str, Any]) -> bytes:
    return json.dumps(said).encode()


def prompt_held(sent: bytes) -> int:
    """For how many tokens of input the body is taken before the call."""
    return in_steps(-(-len(sent) // 2))


async def ask(shell: Shell, said: dict[str, Any], path: str = CHAT, fault: str = "") -> Answer:
    headers = {"x_fake": fault} if fault else {}
    return await shell.fetch("POST", path, body(said), **headers)


async def row(shell: Shell) -> tuple[int, int, str, dict[str, str]]:
    """Units, nanos, how they are known, and the dimensions of the only row."""
    (found,) = await shell.rows()
    return found["units"], found["cost"]["nanos"], found["measured"], found["dimensions"]


def events(answer: Answer) -> list[Any]:
    lines = [line[6:] for line in answer.body.decode().splitlines() if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


GEMINI = "/v1beta/models/fake-flash:"
CONTENTS = {"contents": [{"parts": [{"text": "Say 5 words"}]}]}


@pytest.mark.parametrize(
    ("path", "said", "output", "model"),
    [
        (CHAT, question(), 5, "fake"),
        (CHAT, question(n=3), 15, "fake"),
        (CHAT, question(stream=True), 5, "fake"),
        (CHAT, question(stream=True, stream_options={"include_usage": True}), 5, "fake"),
        ("/v1/responses", {"model": "fake", "input": "Say 5 words"}, 5, "fake"),
        ("/v1/responses", {"model": "fake", "input": "Say 5 words", "stream": True}, 5, "fake"),
        ("/v1/embeddings", {"model": "fake", "input": "Say 5 words"}, 0, "fake"),
        ("/v1/messages", question(max_tokens=9), 5, "fake"),
        ("/v1/messages", question(max_tokens=3, stream=True), 3, "fake"),
        ("/openai/deployments/fake-4/chat/completions?api-version=1", question(), 5, "fake-4"),
        (GEMINI + "generateContent", CONTENTS, 5, "fake-flash"),
        (GEMINI + "streamGenerateContent", CONTENTS, 5, "fake-flash"),
        (GEMINI + "streamGenerateContent?alt=sse", CONTENTS, 5, "fake-flash"),
    ],
)
async def test_a_call_costs_the_tokens_that_it_used(
    tmp_path: Path, path: str, said: dict[str, Any], output: int, model: str
) -> None:
    """By kind, whoever's API it is, streamed or not; and one row says all of it."""
    async with metered(FakeAI(), tmp_path, rules()) as shell:
        answer = await ask(shell, said, path)
        assert answer.status == 200
        kinds = {"input": str(PROMPT)} | ({"output": str(output)} if output else {})
        cost = PROMPT * INPUT + output * OUTPUT
        assert await row(shell) == (PROMPT + output, cost, "measured", {"model": model, **kinds})
        assert await shell.settled() == 10**9 - cost


async def test_as_much_is_held_as_the_call_may_cost(tmp_path: Path) -> None:
    """The prompt, rather too long, and as many tokens as may be answered."""
    async with metered(FakeAI(), tmp_path, rules()) as shell:
        said = body(question(max_tokens=1000))
        answer = await shell.fetch("POST", CHAT, said)
        held = prompt_held(said) * INPUT + 1000 * OUTPUT
        assert answer.header("metergate-balance") == f"{(10**9 - held) / 10**9:.6f}"
        assert answer.header("metergate-cost") is None


async def test_no_more_is_admitted_than_the_credits_cover(tmp_path: Path) -> None:
    """Fifty at once, each of which may cost a quarter of all there is."""
    async with metered(FakeAI(), tmp_path, rules()) as shell:
        poor = await shell.customer("poor", "0.10")
        said = body(question(max_tokens=2400))
        asked = [shell.fetch("POST", CHAT, said, poor, x_fake="slow=0.01") for _ in range(50)]
        answers = await asyncio.gather(*asked)
        statuses = [answer.status for answer in answers]
        assert (statuses.count(200), statuses.count(402)) == (4, 46)
        assert await shell.settled("poor") == 10**8 - 4 * (PROMPT * INPUT + 5 * OUTPUT)


async def test_who_cannot_pay_is_told_before_the_call(tmp_path: Path) -> None:
    fake = FakeAI()
    async with metered(fake, tmp_path, rules()) as shell:
        poor = await shell.customer("poor", "0.01")
        answer = await shell.fetch("POST", CHAT, body(question(max_tokens=1000)), poor)
        told = problem(answer, "insufficient_credits")
        assert told["required"]["nanos"] > told["available"]["nanos"] == 10**7
        assert not fake.journal


async def test_whoever_asks_for_more_than_any_model_gives_is_refused(tmp_path: Path) -> None:
    """Whatever the number looks like."""
    fake = FakeAI()
    async with metered(fake, tmp_path, rules()) as shell:
        for many in (10**21, 2**53 - 1, 1e300, "9" * 400):
            answer = await ask(shell, question(max_tokens=many, n=1000))
            assert problem(answer, "insufficient_credits")["required"]["nanos"] > 10**13
        assert not fake.journal


async def test_a_packed_stream_passes_at_once(tmp_path: Path) -> None:
    """Nothing can be taken out of it, so nothing is waited for; it is counted all the same."""
    sent: list[bytes] = []
    packer = zlib.compressobj(wbits=31)

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"text/event-stream"), (b"content-encoding", b"gzip")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for event in ({}, {"usage": {"prompt_tokens": 6, "completion_tokens": 5}}):
            piece = packer.compress(b"data: %b\n\n" % body({"choices": [], **event}))
            piece += packer.flush(zlib.Z_SYNC_FLUSH)
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            sent.append(piece)
        await send({"type": "http.response.body", "body": packer.flush()})

    async with metered(app, tmp_path, rules()) as shell:
        async with shell.request("POST", CHAT, body(question(stream=True))) as request:
            assert [await request.chunk(), await request.chunk()] == sent[:2]
            await request.read()
        assert (await row(shell))[:3] == (11, 6 * INPUT + 5 * OUTPUT, "measured")


async def test_the_app_gets_the_request_as_it_came(tmp_path: Path) -> None:
    """Byte for byte, but for the question for usage."""
    fake = FakeAI()
    odd = b' {"model" : "fake", "messages":[], "temperature": 1.10, "x": "\\u00e4 \xc3\xa4"} '
    async with metered(fake, tmp_path, rules()) as shell:
        await shell.fetch("POST", CHAT, odd, accept_encoding="gzip, br")
        await shell.fetch("POST", CHAT, odd.replace(b"{", b'{"stream":true,'))
    plain, streamed = fake.journal
    assert plain.body == odd
    assert dict(plain.headers)[b"accept-encoding"] == b"identity"
    assert dict(plain.headers)[b"content-length"] == b"%d" % len(odd)
    assert streamed.body == odd.replace(b"{", b'{"stream_options":{"include_usage":true},"stream":true,')
    assert dict(streamed.headers)[b"content-length"] == b"%d" % len(streamed.body)


async def test_a_client_gets_no_usage_that_it_did_not_ask_for(tmp_path: Path) -> None:
    """Neither the event with it nor an empty one, and all else that the app said."""
    async with metered(FakeAI(), tmp_path, rules()) as shell:
        without = await ask(shell, question(stream=True))
        asked = await ask(shell, question(stream=True, stream_options={"include_usage": True}))
        assert [event | {"usage": None} for event in events(without)] == events(asked)[:-1]
        assert not any("usage" in event for event in events(without))
        assert events(asked)[-1]["usage"]["completion_tokens"] == 5
        assert without.body.endswith(b"data: [DONE]\n\n")
        assert {units for _, units, _ in await shell.summary()} == {11}


async def test_chunks_pass_as_they_come(tmp_path: Path) -> None:
    """The first is there before the app has made the second."""
    step = asyncio.Semaphore(0)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"content-type", b"text/event-stream")],
            }
        )
        for number in range(3):
            await step.acquire()
            event = b'data: {"choices":[{"delta":{"content":"%d"}}]}\n\n' % number
            await send({"type": "http.response.body", "body": event, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async with (
        metered(app, tmp_path, rules(hold={"grow": True})) as shell,
        shell.request("POST", CHAT, body(question(stream=True))) as request,
    ):
        for number in range(3):
            step.release()
            chunk = await request.chunk()
            assert chunk is not None and b'"content":"%d"' % number in chunk


def asked_100(**more: Any) -> dict[str, Any]:
    return question(max_tokens=100, **more)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("usage", ["none", "negative", "nan", "huge", "float", "text", "nested", "duplicate"])
async def test_usage_that_is_missing_or_a_lie_costs_what_was_held(
    tmp_path: Path, usage: str, stream: bool
) -> None:
    """Neither nothing nor what the lie says."""
    async with metered(FakeAI(), tmp_path, rules()) as shell:
        said = asked_100(stream=stream)
        held = prompt_held(body(said))
        assert (await ask(shell, said, fault=f"usage={usage}")).status == 200
        units, cost, measured, dimensions = await row(shell)
        assert (units, cost, measured) == (held + 100, held * INPUT + 100 * OUTPUT, "held")
        assert dimensions == {"model": "fake", "input": str(held), "output": "100"}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("how", "cost", "measured"),
    [("estimate", None, "estimated"), ("minimum", 0, "missing"), ("release", 0, None)],
)
async def test_the_policy_says_what_missing_usage_costs(
    tmp_path: Path, how: str, cost: int | None, measured: str | None, stream: bool
) -> None:
    async with metered(FakeAI(), tmp_path, rules(on_missing_usage=how)) as shell:
        await ask(shell, asked_100(stream=stream), fault="usage=none")
        if measured is None:
            assert await shell.rows() == []
            return
        _, nanos, word, _ = await row(shell)
        assert word == measured
        if cost is None:  # five short words are about as many tokens
            assert 5 * OUTPUT < nanos < 60 * INPUT + 9 * OUTPUT
        else:
            assert nanos == cost


@pytest.mark.parametrize("stream", [False, True])
async def test_an_explicit_zero_is_believed(tmp_path: Path, stream: bool) -> None:
    async with metered(FakeAI(), tmp_path, rules()) as shell:
        await ask(shell, question(stream=stream), fault="usage=zero")
        assert await row(shell) == (0, 0, "measured", {"model": "fake"})


@pytest.mark.parametrize("stream", [False, True])
async def test_usage_that_comes_twice_counts_once_or_not_at_all(tmp_path: Path, stream: bool) -> None:
    """Two events that agree are one report; two members of one object are none."""
    async with metered(FakeAI(), tmp_path, rules()) as shell:
        await ask(shell, asked_100(stream=stream), fault="usage=twice")
        units, _, measured, _ = await row(shell)
        assert (units, measured) == ((11, "measured") if stream else (units, "held"))


@pytest.mark.parametrize("stream", [False, True])
async def test_a_count_beyond_belief_is_none(tmp_path: Path, stream: bool) -> None:
    """The policy may put the bound lower."""
    found = rules()
    found["meters"] = {"tokens": {"count": "llm", "max_units": 10}}
    async with metered(FakeAI(), tmp_path, found) as shell:
        await ask(shell, asked_100(stream=stream))
        assert (await row(shell))[2] == "held"


@pytest.mark.parametrize(
    ("status", "route", "rows"),
    [
        (400, {}, [(0, 0, "measured")]),
        (400, {"on_client_error": "release"}, []),
        (503, {}, []),
        (503, {"on_upstream_error": "charge"}, [(0, 0, "measured")]),
    ],
)
async def test_an_error_that_names_no_usage_costs_nothing(
    tmp_path: Path, status: int, route: dict[str, Any], rows: list[Any]
) -> None:
    """By the policy with a row that says so, or without."""
    async with metered(FakeAI(), tmp_path, rules(**route)) as shell:
        answer = await ask(shell, question(), fault=f"status={status}")
        assert answer.status == status
        assert [
            (each["units"], each["cost"]["nanos"], each["measured"]) for each in await shell.rows()
        ] == rows
        assert await shell.settled() == 10**9


@pytest.mark.parametrize("path", [CHAT, "/v1/messages", "/v1/responses"])
async def test_an_error_in_the_middle_of_a_stream_costs_what_missing_usage_costs(
    tmp_path: Path, path: str
) -> None:
    async with metered(FakeAI(), tmp_path, rules(on_missing_usage="estimate")) as shell:
        said = {"model": "fake", "input": "Say 40 words"} if path.endswith("responses") else question(40)
        answer = await ask(shell, {**said, "stream": True, "max_tokens": 100}, path, "error")
        assert b"overloaded" in answer.body
        _, cost, measured, dimensions = await row(shell)
        assert measured == "estimated"
        assert 10 < int(dimensions["output"]) < 30
        assert 0 < cost < 40 * OUTPUT


async def test_an_error_as_the_whole_stream_is_an_upstream_error(tmp_path: Path) -> None:
    """Although its status is that of a success."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b'data: {"error":{"message":"no"}}\n\n'})

    async with metered(app, tmp_path, rules()) as shell:
        await ask(shell, question(stream=True))
        assert await shell.rows() == []
        assert await shell.settled() == 10**9


@pytest.mark.parametrize("fault", ["cut", "garbage, cut"])
async def test_a_stream_that_breaks_off_is_charged_for_what_was_seen(tmp_path: Path, fault: str) -> None:
    async with metered(FakeAI(), tmp_path, rules()) as shell:
        with pytest.raises(ConnectionError):
            await ask(shell, question(200, stream=True), fault=fault)
        _, cost, measured, dimensions = await row(shell)
        assert measured == "estimated"
        assert 70 < int(dimensions["output"]) < 150
        assert cost == int(dimensions["input"]) * INPUT + int(dimensions["output"]) * OUTPUT


@pytest.mark.parametrize(
    ("route", "measured"),
    [({}, "estimated"), ({"on_disconnect": "hold"}, "held"), ({"on_disconnect": "release"}, None)],
)
async def test_a_client_that_leaves_is_charged_by_the_policy(
    tmp_path: Path, route: dict[str, Any], measured: str | None
) -> None:
    """What was seen so far, what was held, or nothing."""
    async with metered(_endless, tmp_path, rules(**route)) as shell:
        async with shell.request("POST", CHAT, body(question(stream=True, max_tokens=100))) as request:
            for _ in range(30):
                await request.chunk()
            request.disconnect()
            await request.ended()
        if measured is None:
            assert await shell.rows() == []
            return
        _, _, word, dimensions = await row(shell)
        assert word == measured
        assert int(dimensions["output"]) in (range(30, 40) if word == "estimated" else (100,))


async def _endless(scope: Scope, receive: Receive, send: Send) -> None:
    """An answer that goes on until its client leaves."""
    await receive()
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]}
    )
    left = asyncio.ensure_future(receive())
    while not left.done():
        event = b'data: {"choices":[{"delta":{"content":"word"}}]}\n\n'
        await send({"type": "http.response.body", "body": event, "more_body": True})
        await asyncio.sleep(0)


async def test_a_client_that_leaves_after_the_usage_is_measured(tmp_path: Path) -> None:
    """SDKs close a stream as soon as they have read what they want."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        fake = FakeAI()
        sent = 0

        async def until_done(message: Message) -> None:
            nonlocal sent
            if message["type"] == "http.response.body" and b"[DONE]" in message["body"]:
                raise ConnectionError("The client is gone.")
            sent += 1
            await send(message)

        await fake(scope, receive, until_done)

    async with metered(app, tmp_path, rules()) as shell:
        with pytest.raises(ConnectionError):
            await ask(shell, question(stream=True))
        assert (await row(shell))[:3] == (11, 6 * INPUT + 5 * OUTPUT, "measured")


# -- holds that grow ---------------------------------------------------------------------------------------

SMALL = {"output_tokens": 10, "output_cap": 300, "grow": True}


async def test_a_hold_grows_with_its_stream(tmp_path: Path) -> None:
    """In ever longer stretches, each before its tokens; and what the call cost is one row."""
    seen: list[tuple[int, int]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def watched(message: Message) -> None:
            (gate,) = shell.engine.foundation.gates
            await send(message)
            seen.append((shell.balance(), len(gate.live)))

        await FakeAI()(scope, receive, watched)

    async with metered(app, tmp_path, rules(hold=SMALL)) as shell:
        await ask(shell, question(5000, stream=True))
        balances, live = zip(*seen[1:-1], strict=True)
        assert list(balances) == sorted(balances, reverse=True)
        assert 4500 * OUTPUT < 10**9 - balances[-1] < 10_000 * OUTPUT
        assert max(live) == len(set(balances)) in range(4, 8)
        assert (await row(shell))[:3] == (5006, 6 * INPUT + 5000 * OUTPUT, "measured")
        assert not shell.engine.foundation.gates[0].live
        assert await shell.settled() == 10**9 - (6 * INPUT + 5000 * OUTPUT)


@pytest.mark.parametrize("anthropic", [False, True])
async def test_a_stream_may_end_when_the_credits_do(tmp_path: Path, anthropic: bool) -> None:
    """With an error in the words of its SDK; the app is told that nobody listens any more."""
    fake = FakeAI()
    async with metered(fake, tmp_path, rules(hold=SMALL, on_dry="stop")) as shell:
        poor = await shell.customer("poor", "0.02")
        path = "/v1/messages" if anthropic else CHAT
        headers = {"anthropic_version": "2023-06-01"} if anthropic else {}
        said = question(5000, stream=True, max_tokens=100_000)
        answer = await shell.fetch("POST", path, body(said), poor, **headers)
        assert answer.status == 200
        last = events(answer)[-1]
        assert last["error"]["code"] == "insufficient_credits"
        assert last["error"]["type"] == ("billing_error" if anthropic else "insufficient_quota")
        assert (b"\nevent: error\n" in answer.body) is anthropic
        assert fake.served == 0
        (used,) = await shell.rows("poor")
        assert used["measured"] == "estimated"
        assert 250 < int(used["dimensions"]["output"]) < 2000
        assert abs(await shell.settled("poor")) < 256 * OUTPUT
        assert (await shell.fetch("POST", path, body(said), poor, **headers)).status == 402


@pytest.mark.parametrize("size", [1, 7, 3001])
async def test_it_ends_wherever_the_chunks_of_it_end(tmp_path: Path, size: int) -> None:
    """No chunk needs to end where an event does, and the client gets whole events all the same."""
    fake = FakeAI()
    async with metered(fake, tmp_path, rules(hold=SMALL, on_dry="stop")) as shell:
        poor = await shell.customer("poor", "0.02")
        said = question(5000, stream=True, stream_options={"include_usage": True})
        answer = await shell.fetch("POST", CHAT, body(said), poor, x_fake=f"size={size}")
        assert events(answer)[-1]["error"]["code"] == "insufficient_credits"
        (used,) = await shell.rows("poor")
        assert 250 < int(used["dimensions"]["output"]) < 2000


@pytest.mark.parametrize("size", [1, 7, 3001])
async def test_a_growing_stream_stays_as_it_is(tmp_path: Path, size: int) -> None:
    said = body(question(1000, stream=True, stream_options={"include_usage": True}))
    async with metered(FakeAI(), tmp_path, rules(hold=SMALL)) as shell:
        plain = await shell.fetch("POST", CHAT, said)
        assert plain.body.endswith(b"data: [DONE]\n\n")
        assert (await shell.fetch("POST", CHAT, said, x_fake=f"size={size}")).body == plain.body


async def test_a_stream_may_be_finished_when_the_credits_are_not(tmp_path: Path) -> None:
    """What is missing is owed, and the next call is refused."""
    async with metered(FakeAI(), tmp_path, rules(hold=SMALL)) as shell:
        poor = await shell.customer("poor", "0.02")
        said = question(5000, stream=True)
        answer = await shell.fetch("POST", CHAT, body(said), poor)
        assert answer.body.endswith(b"data: [DONE]\n\n")
        assert await shell.settled("poor") == 2 * 10**7 - (6 * INPUT + 5000 * OUTPUT)
        assert (await shell.fetch("POST", CHAT, body(said), poor)).status == 402


async def test_what_a_grown_stream_does_not_report_is_not_less_than_was_seen(tmp_path: Path) -> None:
    async with metered(FakeAI(), tmp_path, rules(hold=SMALL)) as shell:
        await ask(shell, question(2000, stream=True), fault="usage=none")
        _, _, measured, dimensions = await row(shell)
        assert measured == "estimated"
        assert int(dimensions["output"]) > 1500


# -- requests ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "sentence"),
    [
        (b"", "Send one JSON object; there is no body."),
        (b"model=fake", "Send one JSON object in UTF-8."),
        (b'{"model": "fake", "model": "dear"}', "Write model once, and just so."),
        (b'{"model": "a b"}', 'Name the model, such as "model": "gpt-4o".'),
    ],
)
async def test_a_request_in_doubt_is_refused_before_it_costs(
    tmp_path: Path, sent: bytes, sentence: str
) -> None:
    fake = FakeAI()
    async with metered(fake, tmp_path, rules()) as shell:
        told = problem(await shell.fetch("POST", CHAT, sent), "bad_request")
        assert told["detail"] == sentence
        packed = await shell.fetch("POST", CHAT, body(question()), content_encoding="gzip")
        assert problem(packed, "bad_request")["detail"].endswith("without Content-Encoding.")
        assert not fake.journal
        assert await shell.settled() == 10**9


async def test_a_model_without_a_price_is_refused(tmp_path: Path) -> None:
    fake = FakeAI()
    async with metered(fake, tmp_path, rules()) as shell:
        told = problem(await ask(shell, {**question(), "model": "other"}), "no_price")
        assert told["detail"] == "No price is known for the model other; choose another model."
        assert problem(await ask(shell, {"messages": []}), "no_price")
        assert not fake.journal


async def test_a_body_beyond_the_bound_is_refused_before_it_is_read(tmp_path: Path) -> None:
    """Where it is announced, and else as soon as it is too much."""
    fake = FakeAI()
    async with metered(fake, tmp_path, rules()) as shell:
        announced = await shell.fetch("POST", CHAT, b"{}", content_length="33554433")
        assert announced.status == 413
        async with shell.request("POST", CHAT, None) as request:
            for _ in range(33):
                request.send(b" " * 2**20)
            assert await request.status() == 413
        assert not fake.journal


async def test_a_long_request_is_read_beside_the_others(tmp_path: Path) -> None:
    """To the same price and the same bytes."""
    fake = FakeAI()
    async with metered(fake, tmp_path, rules(hold={"input_cap": 100})) as shell:
        said = body(question(pad="word " * 200_000, stream=True))
        assert (await shell.fetch("POST", CHAT, said)).status == 200
        [got] = fake.journal
        assert got.body == said.replace(b"{", b'{"stream_options":{"include_usage":true},', 1)
        assert (await row(shell))[:3] == (PROMPT + 5, PROMPT * INPUT + 5 * OUTPUT, "measured")


async def test_bodies_that_wait_for_their_decision_are_bounded(tmp_path: Path) -> None:
    """For each account and for all; and nobody keeps one for the length of a stream."""
    fake = FakeAI()
    async with metered(fake, tmp_path, rules()) as shell:
        gate = shell.engine.serving
        assert gate is not None
        gate.bodies = bodies = Bodies(most=350, most_of_all=400)
        other = await shell.customer("other", "1.00")
        sent = body(question(stream=True))
        async with shell.request("POST", CHAT, None) as waiting:
            waiting.send(b" " * 200)
            assert problem(await shell.fetch("POST", CHAT, b" " * 160), "too_many_open")["status"] == 429
            busy = problem(await shell.fetch("POST", CHAT, b" " * 220, other), "upstream_busy")
            assert (busy["status"], dict(bodies.kept)) == (503, {"acct": 200})
            async with shell.request("POST", CHAT, sent, other, x_fake="slow=0.01") as served:
                assert await served.chunk()
                assert dict(bodies.kept) == {"acct": 200}
                await served.read()
            waiting.send(sent, more=False)
            assert await waiting.status() == 200
            await waiting.read()
        async with shell.request("POST", CHAT, None) as left:
            left.send(b" " * 200)
            left.disconnect()
        assert (await shell.fetch("POST", CHAT, sent)).status == 200
        assert dict(bodies.kept) == {}


async def test_a_route_has_a_bound_of_its_own(tmp_path: Path) -> None:
    fake, sent = FakeAI(), body(question())
    async with metered(fake, tmp_path, rules(body_bytes=len(sent))) as shell:
        assert (await shell.fetch("POST", CHAT, sent)).status == 200
        told = problem(await shell.fetch("POST", CHAT, sent + b" "), "body_too_large")
        assert told["detail"] == f"Send a body of at most {len(sent)} bytes."
        assert len(fake.journal) == 1


async def test_shadow_mode_lets_everything_pass(tmp_path: Path) -> None:
    """What could not be read or paid is served, and nothing of it is lost on the way."""
    fake = FakeAI()
    async with metered(fake, tmp_path, rules(shadow=True)) as shell:
        poor = await shell.customer("poor", "")
        for sent in (body(question()), body({**question(), "model": "other"}), b'{"model":"a","model":"b"}'):
            assert (await shell.fetch("POST", CHAT, sent, poor)).status == 200
        assert [each.body for each in fake.journal] == [
            body(question()), body({**question(), "model": "other"}), b'{"model":"a","model":"b"}'
        ]  # fmt: skip
        assert {each["measured"] for each in await shell.rows("poor")} == {"shadow"}
        assert await shell.settled("poor") == 0


async def test_an_idempotent_call_is_answered_and_charged_once(tmp_path: Path) -> None:
    fake = FakeAI()
    async with metered(fake, tmp_path, rules()) as shell:
        first = await shell.fetch("POST", CHAT, body(question()), idempotency_key="a")
        again = await shell.fetch("POST", CHAT, body(question()), idempotency_key="a")
        assert again.body == first.body
        assert again.header("idempotency-replayed") == "true"
        other = await shell.fetch("POST", CHAT, body(question(6)), idempotency_key="a")
        assert problem(other, "idempotency_mismatch")
        assert len(fake.journal) == len(await shell.rows()) == 1


IMAGES = policy(
    meters={
        "pictures": {
            "count": "json", "path": "$.n", "of": "request", "otherwise": 1, "dimensions": {"size": "$.size"}
        }
    },
    prices={
        "pictures": [
            {"when": {"size": "1024x*"}, "price": "0.08"},
            {"when": {"size": "512x512"}, "price": "0.02"},
        ]
    },
    routes=[{"match": "* /**", "meter": "pictures"}],
)  # fmt: skip


async def test_a_price_that_the_request_tells_is_known_before_the_call(tmp_path: Path) -> None:
    """Exactly, so that answers can tell it; a size without a price is refused."""
    path = "/v1/images/generations"
    async with metered(FakeAI(), tmp_path, IMAGES) as shell:
        answer = await ask(shell, {"model": "fake", "n": 3, "size": "1024x1024"}, path)
        assert answer.header("metergate-cost") == "0.24"
        assert len(answer.json()["data"]) == 3
        assert (await ask(shell, {"model": "fake", "size": "512x512"}, path)).header(
            "metergate-cost"
        ) == "0.02"
        assert problem(await ask(shell, {"model": "fake", "size": "99x99"}, path), "no_price")
        assert problem(await ask(shell, {"n": 13, "size": "1024x1024"}, path), "insufficient_credits")
        assert [(each["units"], each["dimensions"]) for each in await shell.rows()] == [
            (3, {"size": "1024x1024"}), (1, {"size": "512x512"})
        ]  # fmt: skip
