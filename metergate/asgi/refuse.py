"""Refusals on the wire: one body that people, the OpenAI SDK and the Anthropic SDK read."""

import msgspec

from metergate.asgi.request_headers import ANTHROPIC
from metergate.asgi.types import Headers, Message, Scope, Send
from metergate.core.policy import Policy
from metergate.core.refusal import Refusal, body, headers
from metergate.errors import MetergateError
from metergate.gate.call import Call, Visit

IN_A_SOCKET = "websocket.http"
"""Before what a server is told that answers a handshake like any other request."""


def answers_whole(scope: Scope) -> bool:
    """Whether the server can answer a handshake with a response of its own kind."""
    return f"{IN_A_SOCKET}.response" in (scope.get("extensions") or ())


def answer(
    refusal: Refusal, policy: Policy, request_id: str, *, anthropic: bool
) -> tuple[int, Headers, bytes]:
    """Status, headers and body of a refusal."""
    url = policy.payment_url
    members = body(refusal, request_id, currency=policy.currency, top_up_url=url, anthropic=anthropic)
    payload = msgspec.json.encode(members)
    found: Headers = [
        *headers(refusal, top_up_url=url),
        (b"content-length", b"%d" % len(payload)),
        (b"metergate-request-id", request_id.encode()),
    ]
    return refusal.status, found, payload


async def send_refusal(
    send: Send, refusal: Refusal, policy: Policy, request_id: str, *, anthropic: bool, prefix: str = "http"
) -> None:
    status, found, payload = answer(refusal, policy, request_id, anthropic=anthropic)
    await send({"type": f"{prefix}.response.start", "status": status, "headers": found})
    await send({"type": f"{prefix}.response.body", "body": payload})


async def answer_inside(send: Send, scope: Scope, refusal: Refusal, call: Call | Visit) -> None:
    """Answer for an app that let the refusal of a charge, or of a feature, pass through."""
    anthropic = any(name == ANTHROPIC for name, _ in scope["headers"])
    await send_refusal(send, refusal, call.gate.policy, call.request_id, anthropic=anthropic)


def told_inside(error: Exception) -> Refusal | None:
    """The refusal that an exception of the app is about, also when a group of tasks wraps it."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error.refusal if isinstance(error, MetergateError) else None


class Withheld:
    """A `send` that keeps a 500 back until it is known whether a refusal inside the call is behind it.

    Frameworks turn an exception that nobody handles into a 500 of theirs before they let it through.
    """

    def __init__(self, send: Send) -> None:
        self.send = send
        self._messages: list[Message] = []

    async def __call__(self, message: Message) -> None:
        self._messages.append(message)

    async def let_go(self) -> None:
        for message in self._messages:
            await self.send(message)


def withheld(call: Call | Visit, status: int, send: Send) -> Send:
    """Where an answer of that status goes."""
    return Withheld(send) if status >= 500 and call.refused is not None else send
