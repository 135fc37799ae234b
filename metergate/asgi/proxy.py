"""The proxy: an ASGI app that forwards. The middleware goes around it, and this knows of credits only that a
call which never reached its upstream is not owed.
"""

import asyncio
import logging
from typing import Protocol

from metergate.asgi.caller import AsgiCaller, AsgiSocketCaller
from metergate.asgi.current import running
from metergate.asgi.types import Receive, Scope, Send
from metergate.core.policy import Policy, Route
from metergate.core.refusal import Refusal
from metergate.errors import ConfigurationError, as_exception
from metergate.gate.call import Call, Visit
from metergate.gate.routes import NOWHERE
from metergate.upstream import (
    BadRequestError,
    Client,
    Forwarding,
    Handshake,
    Pulse,
    SocketForwarding,
    UpstreamError,
    Way,
    Ways,
)

log = logging.getLogger("metergate")

SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
"""What `X-Forwarded-Proto` calls them."""


class Engine(Protocol):
    """What says where to forward to."""

    @property
    def policy(self) -> Policy: ...


class Proxy:
    """Forwards what comes in to the upstream of its route."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._ways: Ways | None = None
        self._pulse: Pulse | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "lifespan":
            await self._live(receive, send)
            return
        call = running.get()
        assert call is not None, "the middleware goes around the proxy"
        if not call.path:  # shadow mode lets pass what no two readers need agree on
            raise BadRequestError("The path could be read in two ways.")
        if kind == "websocket":
            await self._open(scope, receive, send, call)
            return
        route = call.route
        policy = self._engine.policy
        if route is NOWHERE and policy.default == "deny" and not policy.shadow:
            # A stranger's preflight; the operator's credential is for paths that the policy names.
            raise as_exception(Refusal("route_not_in_policy"))
        way = self._way(route)
        head = way.heads.write(
            scope["method"], target(scope), scope["headers"], client(scope), call.request_id
        )
        longest = route.body_bytes or policy.serve.body_bytes
        caller = AsgiCaller(scope, receive, send)
        forwarding = Forwarding(way, caller, longest, longest, route.drain_us / 10**6)
        try:
            await forwarding.run(head)
        finally:
            if not forwarding.delivered:
                call.release()

    async def _open(self, scope: Scope, receive: Receive, send: Send, call: Call | Visit) -> None:
        """A WebSocket, where the route allows one."""
        route = call.route
        if not route.websocket:
            raise as_exception(Refusal("route_not_in_policy", "This path offers no WebSocket."))
        way = self._way(route)
        handshake = Handshake.new(scope["subprotocols"])
        head = way.heads.write("GET", target(scope), scope["headers"], client(scope), call.request_id)
        await receive()  # what wants to connect has to wait until the upstream has agreed
        try:
            await SocketForwarding(way, AsgiSocketCaller(scope, receive, send)).run(head.data, handshake)
        except UpstreamError as error:
            way.pool.report(error)
            raise

    def _way(self, route: Route) -> Way:
        ways = self._ways
        if ways is None or ways.policy is not self._engine.policy:
            ways = self.follow()
        found = ways.by_name.get(route.upstream)
        if found is None:  # the policy was read anew while the request came in
            raise UpstreamError("upstream_unreachable", f"There is no upstream {route.upstream!r} any more.")
        return found

    def follow(self) -> Ways:
        """Forward by the policy that is at work now; what is on its way ends where it is."""
        if self._pulse is None:
            self._pulse = Pulse(asyncio.get_running_loop())
        before, policy = self._ways, self._engine.policy
        try:
            self._ways = Ways(policy, self._pulse)
        except ConfigurationError as error:
            if before is None:
                raise
            log.error("The upstreams stay as they were. %s", error)
            before.policy = policy
            return before
        if before is not None:
            before.close()
        return self._ways

    async def _live(self, receive: Receive, send: Send) -> None:
        """Find every upstream at the start, where a mistake is still the operator's to see."""
        await receive()
        try:
            self.follow()
        except ConfigurationError as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self.close()
        await send({"type": "lifespan.shutdown.complete"})

    def close(self) -> None:
        """Let go of idle connections; what is on its way ends where it is."""
        ways, self._ways = self._ways, None
        if ways is not None:
            ways.close()


def target(scope: Scope) -> bytes:
    """Path and query as the client sent them."""
    path: bytes = scope["raw_path"]
    query = scope["query_string"]
    return b"%b?%b" % (path, query) if query else path


def client(scope: Scope) -> Client:
    address = scope.get("client")
    return (address[0] if address else "", SCHEMES[scope["scheme"]])
