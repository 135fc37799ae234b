"""Calls with an Idempotency-Key: one charge per account, route and key, and the same answer again."""

from collections.abc import Awaitable
from typing import TYPE_CHECKING

import msgspec

from metergate.asgi.request_headers import Seen
from metergate.asgi.types import Headers, Message, Receive
from metergate.core.idempotency import ANSWER_MAX, BODY_MAX, KEEP_US, Twin, check_key, fingerprint, twin_id
from metergate.core.policy import Route
from metergate.core.refusal import Refusal
from metergate.gate.call import Call
from metergate.gate.members import Member

if TYPE_CHECKING:
    from metergate.asgi.exchange import Exchange


class KeptAnswer(msgspec.Struct, array_like=True):
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


async def serve(exchange: "Exchange", member: Member, route: Route) -> None:
    """Admit a call unless a twin of it was here, and keep its answer for the next."""
    gate, scope = exchange.gate, exchange.scope
    key = _one_key(exchange.seen)
    if isinstance(key, Refusal):
        await exchange.refuse(key)
        return
    body = await read_body(exchange.receive)
    if body is None:
        return
    if len(body) > BODY_MAX:
        await exchange.refuse(Refusal("body_too_large"))
        return
    path = exchange.found.path
    target = path + "?" + scope.get("query_string", b"").decode("latin-1")
    id = twin_id(member.caller.account.id, route.match, key)
    twin = Twin(id, fingerprint(scope["method"], target, body), gate.clock() + KEEP_US)
    asked = gate.admit(member, route, path, exchange.request_id, twin)
    admitted = await asked if isinstance(asked, Awaitable) else asked
    if isinstance(admitted, Call):
        receive = Rereading(exchange.receive, body)
        await exchange.run(scope, receive, exchange.send, admitted, Keeper())
    else:
        await exchange.conclude(admitted)


def _one_key(seen: Seen) -> str | Refusal:
    if len(set(seen.idempotency)) > 1:
        return Refusal("bad_idempotency_key")
    key = seen.idempotency[0].decode("latin-1")
    problem = check_key(key)
    return Refusal("bad_idempotency_key", problem) if problem else key


async def read_body(receive: Receive) -> bytes | None:
    """The body, or more of it than an idempotent call may send; None when the client left before its end."""
    body = bytearray()
    more = True
    while more and len(body) <= BODY_MAX:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return bytes(body)


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


async def replay(exchange: "Exchange", answer: bytes | None) -> None:
    """The kept answer, once more; or the refusal that says that it was done and charged once."""
    if answer is None:
        await exchange.refuse(Refusal("idempotency_done"))
        return
    kept = msgspec.msgpack.decode(answer, type=KeptAnswer)
    headers = [*kept.headers, (b"idempotency-replayed", b"true")]
    await exchange.send({"type": "http.response.start", "status": kept.status, "headers": headers})
    await exchange.send({"type": "http.response.body", "body": kept.body})
