"""Calls with an Idempotency-Key: one charge per account, route and key, and the same answer again."""

from typing import TYPE_CHECKING

import msgspec

from metergate.asgi.request_headers import Seen
from metergate.asgi.types import Headers, Message
from metergate.core.idempotency import ANSWER_MAX, KEEP_US, Twin, check_key, fingerprint, twin_id
from metergate.core.policy import Route
from metergate.core.refusal import Refusal
from metergate.gate.members import Member

if TYPE_CHECKING:
    from metergate.asgi.exchange import Exchange


class KeptAnswer(msgspec.Struct, array_like=True):
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


def twin_of(exchange: "Exchange", member: Member, route: Route, key: str, body: bytes) -> Twin:
    """What the call has in common with those of the same key."""
    scope = exchange.scope
    target = exchange.found.path + "?" + scope.get("query_string", b"").decode("latin-1")
    id = twin_id(member.caller.account.id, route.match, key)
    return Twin(id, fingerprint(scope["method"], target, body), exchange.gate.clock() + KEEP_US)


def one_key(seen: Seen) -> str | Refusal:
    if len(set(seen.idempotency)) > 1:
        return Refusal("bad_idempotency_key")
    key = seen.idempotency[0].decode("latin-1")
    problem = check_key(key)
    return Refusal("bad_idempotency_key", problem) if problem else key


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
