"""Calls with an Idempotency-Key: one charge per account, route and key, and the same answer again."""

from collections.abc import Awaitable
from typing import TYPE_CHECKING

import msgspec

from metergate.asgi.headers import Seen
from metergate.asgi.refuse import send_refusal
from metergate.asgi.types import Headers, Message, Receive, Scope, Send
from metergate.core.idempotency import ANSWER_MAX, BODY_MAX, KEEP_US, Twin, check_key, fingerprint, twin_id
from metergate.core.policy import Policy, Route
from metergate.core.refusal import Refusal
from metergate.gate.call import Call
from metergate.gate.gate import Replay
from metergate.gate.members import Member

if TYPE_CHECKING:
    from metergate.asgi.middleware import Metered


class KeptAnswer(msgspec.Struct, array_like=True):
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


async def serve(
    metered: "Metered",
    scope: Scope,
    receive: Receive,
    send: Send,
    member: Member,
    route: Route,
    path: str,
    request_id: str,
    seen: Seen,
) -> None:
    gate = metered.serving()
    key = _one_key(seen)
    if isinstance(key, Refusal):
        await send_refusal(send, key, gate.policy, request_id, anthropic=seen.anthropic)
        return
    body = await read_body(receive)
    if body is None:
        refusal = Refusal("body_too_large")
        await send_refusal(send, refusal, gate.policy, request_id, anthropic=seen.anthropic)
        return
    account = member.caller.account.id
    target = path + "?" + scope.get("query_string", b"").decode("latin-1")
    twin = Twin(
        twin_id(account, route.match, key), fingerprint(scope["method"], target, body), gate.clock() + KEEP_US
    )
    asked = gate.admit(member, route, path, request_id, twin)
    admitted = await asked if isinstance(asked, Awaitable) else asked
    if isinstance(admitted, Replay):
        await replay(send, admitted.answer, gate.policy, request_id, anthropic=seen.anthropic)
    elif isinstance(admitted, Call):
        await metered.run(scope, Rereading(receive, body), send, admitted, Keeper())
    else:
        await send_refusal(send, admitted, gate.policy, request_id, anthropic=seen.anthropic)


def _one_key(seen: Seen) -> str | Refusal:
    if len(set(seen.idempotency)) > 1:
        return Refusal("bad_idempotency_key")
    key = seen.idempotency[0].decode("latin-1")
    problem = check_key(key)
    return Refusal("bad_idempotency_key", problem) if problem else key


async def read_body(receive: Receive) -> bytes | None:
    """The whole body; None when it is larger than an idempotent call may send."""
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return b"".join(chunks)
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > BODY_MAX:
            return None
        if not message.get("more_body", False):
            return b"".join(chunks)


class Rereading:
    """A `receive` that gives a body that was read already, then whatever comes after it."""

    def __init__(self, receive: Receive, body: bytes) -> None:
        self._receive = receive
        self._body: bytes | None = body

    async def __call__(self) -> Message:
        if self._body is None:
            return await self._receive()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}


class Keeper:
    """Keeps a small answer for the call's twins. Streams and large answers are not kept."""

    def __init__(self) -> None:
        self._kept: KeptAnswer | None = None

    def see(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [(bytes(name), bytes(value)) for name, value in message.get("headers", ())]
            self._kept = None if _streams(headers) else KeptAnswer(message["status"], headers, b"")
        elif message["type"] == "http.response.body" and self._kept is not None:
            self._kept.body += message.get("body", b"")
            if len(self._kept.body) > ANSWER_MAX:
                self._kept = None
        else:
            self._kept = None

    def answer(self) -> bytes | None:
        return msgspec.msgpack.encode(self._kept) if self._kept else None


def _streams(headers: Headers) -> bool:
    return any(name == b"content-type" and value.startswith(b"text/event-stream") for name, value in headers)


async def replay(
    send: Send, answer: bytes | None, policy: Policy, request_id: str, *, anthropic: bool
) -> None:
    """The kept answer, once more; or the refusal that says that it was done and charged once."""
    if answer is None:
        await send_refusal(send, Refusal("idempotency_done"), policy, request_id, anthropic=anthropic)
        return
    kept = msgspec.msgpack.decode(answer, type=KeptAnswer)
    headers = [*kept.headers, (b"idempotency-replayed", b"true")]
    await send({"type": "http.response.start", "status": kept.status, "headers": headers})
    await send({"type": "http.response.body", "body": kept.body})
