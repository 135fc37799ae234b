"""A stateful Stripe over HTTP: forms, versions, idempotency keys, faults, and signed news."""

import asyncio
import contextlib
import hashlib
import json
import random
import re
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

from stripe import WebhookSignature

from metergate.ports import Clock
from metergate.provider_port.http import ask
from metergate.testing.provider_conformance import BROKEN, BUSY, UNANSWERED
from tests.adapters.stripe.fake.errors import Refused
from tests.adapters.stripe.fake.params import decoded, known, understood
from tests.adapters.stripe.fake.store import Json, Store

BURNED, SILENT = "burned", "silent"
"""Besides the faults of every provider: a 500 that the key repeats from then on; done without an answer, and
the line stays open."""


class Route(NamedTuple):
    method: str
    path: re.Pattern[str]
    params: type | None
    handle: Callable[..., Json]


class Api:
    """The endpoints of a part of Stripe, declared one by one."""

    def __init__(self) -> None:
        self.routes: list[Route] = []

    def on(self, line: str, params: str = "") -> Callable[[Callable[..., Json]], Callable[..., Json]]:
        """`POST /v1/refunds`, and the SDK's class of its parameters; `{}` in a path is an id."""
        method, path = line.split(" ")
        pattern = re.compile(re.escape(path).replace(r"\{\}", "([^/]+)"))

        def declare(handle: Callable[..., Json]) -> Callable[..., Json]:
            takes = known(params) if params else None
            self.routes.append(Route(method, pattern, takes, handle))
            return handle

        return declare

    def lists(self, path: str, kind: str, params: str) -> None:
        """What can be listed, searched and asked for by its id."""

        def listed(store: Store, asked: Json) -> Json:
            return store.page(path, store.all(kind), asked)

        def searched(store: Store, asked: Json) -> Json:
            return store.searched(f"{path}/search", kind, asked["query"])

        def retrieved(store: Store, asked: Json, id: str) -> Json:
            return store.get(kind, id)

        self.on(f"GET {path}", f"{params}ListParams")(listed)
        self.on(f"GET {path}/search", f"{params}SearchParams")(searched)
        self.on(f"GET {path}/{{}}", f"{params}RetrieveParams")(retrieved)


class Request(NamedTuple):
    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return urlsplit(self.target).path


class Answered(NamedTuple):
    fingerprint: str
    status: int
    body: bytes


class FakeStripe:
    def __init__(self, clock: Clock, key: str, secret: str, apis: Sequence[Api]) -> None:
        self.store = Store(clock)
        self.clock = clock
        self.secret = secret
        self.faults: deque[str] = deque()
        self.seen: list[Request] = []
        self.busy_s = 0
        self._key = key
        self._routes = [route for api in apis for route in api.routes]
        self._kept: dict[str, Answered] = {}
        self._at_work: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return self.store.url

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.store.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        self._server.close()
        for task in self._at_work:
            task.cancel()
        await asyncio.gather(*self._at_work, return_exceptions=True)
        await self._server.wait_closed()

    # -- news ----------------------------------------------------------------------------------------------

    def body(self, event: Json) -> bytes:
        shown = {name: value for name, value in event.items() if name != "undelivered"}
        return json.dumps(shown, indent=2).encode()

    def signed(self, body: bytes, secret: str = "", age_s: int = 0) -> dict[str, str]:
        """The headers of a delivery that is sent now, signed by the SDK."""
        at_s = self.store.now_s() - age_s
        told = WebhookSignature.generate_signature_header(body.decode(), secret or self.secret, at_s)
        return {"stripe-signature": told, "content-type": "application/json; charset=utf-8"}

    async def deliver(self, url: str, *, seed: int = 0, times: int = 1) -> list[int]:
        """Send every event so often, in an order that the seed decides; the answers' statuses."""
        events = self.store.events * times
        random.Random(seed).shuffle(events)
        statuses = []
        for event in events:
            body = self.body(event)
            answer = await ask("POST", url, headers=self.signed(body), body=body)
            event["undelivered"] = event["undelivered"] and answer.status >= 300
            statuses.append(answer.status)
        return statuses

    # -- HTTP ----------------------------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._at_work.add(task)
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                while await self._one(reader, writer):
                    pass
        finally:
            self._at_work.discard(task)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        method, target, _ = first.split(" ")
        request = Request(method, target, headers, body)
        self.seen.append(request)
        fault = self.faults.popleft() if self.faults and method != "GET" and "/v1/" in target else ""
        status, answer = self._answer(request, fault)
        if fault == SILENT:
            await reader.read(1)  # until the other side hangs up
        if fault in (UNANSWERED, SILENT):
            return False
        waiting = f"retry-after: {self.busy_s}\r\n" if status == 429 and self.busy_s else ""
        kind = "application/json" if answer.startswith(b"{") else "text/html"
        writer.write(
            f"HTTP/1.1 {status} Said\r\ncontent-type: {kind}\r\ncontent-length: {len(answer)}\r\n"
            f"request-id: req_{len(self.seen)}\r\n{waiting}\r\n".encode()
            + answer
        )
        await writer.drain()
        return True

    def _answer(self, request: Request, fault: str) -> tuple[int, bytes]:
        try:
            if fault == BUSY:
                raise Refused(429, "Too many requests hit the API too quickly.", "rate_limit")
            if fault == BROKEN:
                raise Refused(500, "An unknown error occurred", type="api_error")
            if request.path.startswith("/v1/"):
                self._must_be_us(request)
            return self._once(request, fault)
        except Refused as refused:
            return refused.status, self._refusal(refused)

    def _once(self, request: Request, fault: str) -> tuple[int, bytes]:
        """What a key was asked before is answered again; what only failed to be understood is not kept."""
        key = request.headers.get("idempotency-key", "") if request.method == "POST" else ""
        told = hashlib.sha256(request.path.encode() + b"?" + request.body).hexdigest()
        kept = self._kept.get(key) if key else None
        if kept is not None:
            if kept.fingerprint != told:
                message = (
                    "Keys for idempotent requests can only be used with the same parameters as at first."
                )
                raise Refused(400, message, type="idempotency_error")
            return kept.status, kept.body
        route, ids, asked = self._understood(request)
        if fault == BURNED:
            status, answer = 500, self._refusal(Refused(500, "An unknown error occurred", type="api_error"))
        else:
            status, answer = self._done(route, ids, asked)
        if key and status != 404:
            self._kept[key] = Answered(told, status, answer)
        return status, answer

    def _understood(self, request: Request) -> tuple[Route, tuple[str, ...], Json]:
        for route in self._routes:
            found = route.path.fullmatch(request.path)
            if found is not None and route.method == request.method:
                query = urlsplit(request.target).query
                form = decoded(request.body.decode() if request.method == "POST" else query)
                of_api = request.path.startswith("/v1/")
                return route, found.groups(), understood(form, route.params) if of_api else form
        raise Refused(404, f"Unrecognized request URL ({request.method}: {request.path}).")

    def _done(self, route: Route, ids: Sequence[str], asked: Json) -> tuple[int, bytes]:
        try:
            made = route.handle(self.store, asked, *ids)
        except Refused as refused:
            if refused.status != 402:
                raise
            return refused.status, self._refusal(refused)
        if made.get("object") in ("list", "search_result", "page"):
            return 200, made["html"].encode() if "html" in made else json.dumps(made, default=str).encode()
        return 200, json.dumps(self.store.shown(made, asked.get("expand", ())), default=str).encode()

    def _refusal(self, refused: Refused) -> bytes:
        error = {
            name: self.store.shown(value) if isinstance(value, dict) else value
            for name, value in refused.body["error"].items()
        }
        return json.dumps({"error": error}, default=str).encode()

    def _must_be_us(self, request: Request) -> None:
        if request.headers.get("authorization") != f"Bearer {self._key}":
            raise Refused(401, "Invalid API Key provided", type="invalid_request_error")
        if not request.headers.get("stripe-version"):
            raise Refused(400, "Name the version of the API that you were written for.")
