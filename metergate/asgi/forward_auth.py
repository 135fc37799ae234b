"""Forward auth: a front asks about each request and passes it on itself.

The request that is asked about goes the way of every metered request, with an app behind it that says yes. So
who may, what it costs and how a refusal reads are decided as everywhere. Nobody tells what becomes of the
request: it is charged at once, and where its units are counted it costs what is held.
"""

import json
from typing import Final, NamedTuple

from metergate.asgi import answer_headers
from metergate.asgi.current import running
from metergate.asgi.http import Answer
from metergate.asgi.middleware import Engine, Metered
from metergate.asgi.refuse import send_refusal
from metergate.asgi.request_headers import ANTHROPIC
from metergate.asgi.types import Headers, Message, Receive, Scope, Send
from metergate.core.facts import Caller
from metergate.core.policy import Policy
from metergate.core.refusal import Refusal
from metergate.errors import MetergateError

PATH: Final = "/authz/v1/forward"
DENY_403: Final = b"deny=403"
"""The query by which a front wants every refusal as a 403, for it knows no other."""

URIS: Final = frozenset({b"x-original-uri", b"x-forwarded-uri"})
METHODS: Final = frozenset({b"x-original-method", b"x-forwarded-method"})

UNNAMED: Final = (
    "Name the request: its target in X-Original-URI and its method in X-Original-Method, or in "
    "X-Forwarded-Uri and X-Forwarded-Method, or both as the request behind /authz/v1/forward."
)
TWICE: Final = (
    "The request is named in two ways that differ; let the front remove the X-Original- and X-Forwarded- "
    "headers that its clients send."
)


class ForwardAuth(Metered):
    def __init__(self, engine: Engine) -> None:
        super().__init__(_yes, engine)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = _asked(scope)
        if asked.deny_403:
            send = Denying(send)
        if asked.problem:
            await self._misunderstood(scope, send, asked.problem)
            return
        path, _, query = asked.target.partition(b"?")
        about = {
            **scope,
            "method": asked.method.decode("latin-1"),
            "path": path.decode("latin-1"),
            "raw_path": path,
            "query_string": query,
            "headers": asked.headers,
            "client": None,  # the front asks for all of its clients
        }
        await super().__call__(about, receive, send)

    async def _begin(self) -> MetergateError | None:
        problem = await super()._begin()
        self._billing_paths = ()  # whoever asks is a front, and not the customer
        return problem

    async def _misunderstood(self, scope: Scope, send: Send, sentence: str) -> None:
        problem = await self._begin()
        if problem is not None:
            await self._unavailable(send, problem)
            return
        gate = self._serving()
        anthropic = any(name == ANTHROPIC for name, _ in scope["headers"])
        refusal = Refusal("bad_request", sentence)
        await send_refusal(send, refusal, gate.policy, gate.request_id(), anthropic=anthropic)

    async def _answer(self, _scope: Scope, send: Send, answer: Answer) -> None:
        """The call is let go, and costs what is known of it."""
        call = answer.call
        policy = call.gate.policy
        told = call.headers or answer_headers.headers(call, policy.show)
        if call.prepared.measured:
            call.settle(measured="held")
        else:
            call.settle_expected()
        await _let_go(send, [*told, *_who(call.member.caller, policy)])


async def _yes(_scope: Scope, _receive: Receive, send: Send) -> None:
    """The app behind requests for which nothing is held."""
    visit = running.get()
    assert visit is not None, "the middleware goes around it"
    await _let_go(send, _who(visit.member.caller, visit.gate.policy))


async def _let_go(send: Send, headers: Headers) -> None:
    headers = [*headers, (b"cache-control", b"no-store"), (b"content-length", b"0")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def _who(caller: Caller, policy: Policy) -> Headers:
    """Who calls, for the service behind the front; empty where it is nobody, so that no caller says who."""
    plan = policy.plan(caller.account.plan).id if caller.account.id else ""
    return [
        (b"metergate-account", caller.account.id.encode()),
        (b"metergate-key", caller.key.kid.encode() if caller.key else b""),
        (b"metergate-plan", plan.encode("latin-1", "replace")),
    ]


class Asked(NamedTuple):
    """The request that a front asks about."""

    method: bytes
    target: bytes
    headers: Headers
    deny_403: bool
    problem: str


def _asked(scope: Scope) -> Asked:
    headers: Headers = []
    uris: set[bytes] = set()
    methods: set[bytes] = set()
    for name, value in scope["headers"]:
        if name in URIS:
            uris.add(value)
        elif name in METHODS:
            methods.add(value)
        else:
            headers.append((name, value))
    query = scope.get("query_string", b"")
    behind = (scope.get("raw_path") or scope["path"].encode()).partition(PATH.encode())[2]
    if behind:
        uris.add(behind + b"?" + query if query else behind)
        methods.add(scope["method"].encode())
        query = b""
    deny_403 = query == DENY_403  # any other is the caller's, and some fronts leave it there
    if not uris or not methods:
        return Asked(b"", b"", headers, deny_403, UNNAMED)
    if len(uris) > 1 or len(methods) > 1:
        return Asked(b"", b"", headers, deny_403, TWICE)
    return Asked(methods.pop(), uris.pop(), headers, deny_403, "")


class Denying:
    """A `send` for fronts that know no refusal but 403: the real one stands in headers."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._refused: Message | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] >= 300:
            self._refused = message
            return
        if self._refused is not None:
            told, self._refused = self._refused, None
            real = [
                (b"metergate-status", b"%d" % told["status"]),
                (b"metergate-problem", _in_a_header(message.get("body", b""))),
            ]
            await self._send({**told, "status": 403, "headers": [*told["headers"], *real]})
        await self._send(message)


def _in_a_header(body: bytes) -> bytes:
    """A JSON body in one line of ASCII."""
    return json.dumps(json.loads(body)).encode()
