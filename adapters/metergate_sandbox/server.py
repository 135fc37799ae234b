"""The sandbox over HTTP: an API for merchants, a page for payers, and faults for those who test."""

import asyncio
import hmac
import json
from collections import deque
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from metergate.provider_port import (
    DisputeFacts,
    Http,
    InvoiceDraft,
    Item,
    Money,
    Order,
    Payer,
    UsageTotal,
)
from metergate_sandbox import page
from metergate_sandbox.cards import CARDS, card
from metergate_sandbox.news import News
from metergate_sandbox.shapes import from_json, to_json
from metergate_sandbox.state import Refused, Sandbox

BODY_MAX: Final = 10**6
BUSY, BROKEN, LOST, WELL = "busy", "broken", "lost", "well"
FAULTS: Final[Mapping[str, int]] = {BUSY: 429, BROKEN: 500}

Json = dict[str, Any]
Call = Callable[[Json], Any]


class NotAnswered(Exception):
    """It was done, and the connection closes without a word."""


class Server:
    def __init__(self, key: str, secret: str, clock: Callable[[], int], http: Http) -> None:
        self.news = News(http, secret, clock)
        self.sandbox = Sandbox(clock, self.news.say)
        self.url = ""
        self.asked: deque[str] = deque(maxlen=1000)
        """The calls that merchants made, the newest last."""
        self._key = key
        self._faults: list[tuple[str, int]] = []
        """The kind, and for how many seconds whoever is busy wants to be left alone."""
        self._server: asyncio.Server | None = None
        self._calls = calls(self)

    async def start(self, port: int = 0, host: str = "127.0.0.1", url: str = "") -> None:
        """Listen; `url` is how payers reach it, where that is elsewhere."""
        self._server = await asyncio.start_server(self._serve, host, port)
        self.url = url or f"http://{host}:{self._server.sockets[0].getsockname()[1]}"
        self.sandbox.url = self.url

    async def close(self) -> None:
        await self.news.close()
        if self._server is not None:
            self._server.close()

    def fault(self, asked: Json) -> Json:
        """busy, broken, lost and well are for the next `times` calls; the others for all news from now on."""
        kind = asked.get("kind", "")
        if kind in (BUSY, BROKEN, LOST, WELL):
            self._faults += [(kind, int(asked.get("after_s", 0)))] * int(asked.get("times", 1))
        else:
            self.news.fault = kind
        return {}

    def well(self) -> None:
        """Everything is as it should be again."""
        self._faults.clear()
        self.news.fault = ""

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(30):
                status, kind, body = await self._answer(reader)
                head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{kind}\r\n"
                writer.write(
                    f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body
                )
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, NotAnswered, TimeoutError):
            pass  # whoever asked is gone, or is to believe that we are
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader) -> tuple[int, str, bytes]:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = (*head[0].split(" ", 2), "", "")[:3]
        headers = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])
        }
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > BODY_MAX:
            return _json(413, {"code": "too_large", "message": "Send at most a megabyte."})
        body = await reader.readexactly(int(length))
        path = urlsplit(target).path
        if path.startswith("/pay/"):
            return self._pay(path.removeprefix("/pay/"), method, body)
        return self._api(method, path, headers, body)

    def _pay(self, id: str, method: str, body: bytes) -> tuple[int, str, bytes]:
        sandbox = self.sandbox
        if id not in sandbox.payments:
            return page.html(404, page.nothing())
        if method == "POST":
            form = {name: values[0] for name, values in parse_qs(body.decode("latin-1")).items()}
            number = form.get("card", "").replace(" ", "")
            if form.get("confirm"):
                does = "pays" if form["confirm"] == "yes" else "declined"
                sandbox.pay(id, does)
            elif number in CARDS:
                sandbox.pay(id, CARDS[number], card(number))
            else:
                return page.html(400, page.form(sandbox.payments[id], "Take one of the test cards."))
        return page.shown(sandbox.payments[id], sandbox.sales[id])

    def _api(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, str, bytes]:
        if not hmac.compare_digest(headers.get("authorization", "").encode(), f"Bearer {self._key}".encode()):
            return _json(401, {"code": "wrong_key", "message": "The sandbox does not know this key."})
        call = self._calls.get(path.removeprefix("/v1/")) if method == "POST" else None
        if call is None:
            return _json(404, {"code": "no_such_call", "message": f"There is no {method} {path}."})
        self.asked.append(path.removeprefix("/v1/"))
        fault, after_s = "", 0
        if self._faults and not path.startswith("/v1/test/"):
            fault, after_s = self._faults.pop(0)
        if fault in FAULTS:
            status, kind, told = _json(FAULTS[fault], {"code": fault, "message": "As you wished."})
            return status, f"{kind}\r\nRetry-After: {after_s}" if after_s else kind, told
        try:
            answer = call(json.loads(body or b"{}"))
        except Refused as refused:
            return _json(refused.status, {"code": refused.code, "message": str(refused)})
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            return _json(400, {"code": "unreadable", "message": f"The call cannot be read: {error!r}."})
        if fault == LOST:
            raise NotAnswered
        return _json(200, to_json(answer))


def calls(server: Server) -> Mapping[str, Call]:
    """What merchants, and under test/ those who test, can ask for."""
    box = server.sandbox
    return {
        "health": lambda _: {"ok": True},
        "customers/create": lambda a: box.create_customer(from_json(Payer, a)),
        "customers/fetch": lambda a: box.customers.get(a["id"]),
        "methods/list": lambda a: list(box.methods.get(a["customer"], {}).values()),
        "methods/attach": lambda a: box.attach(a["customer"], a["token"]),
        "methods/detach": lambda a: box.detach(a["customer"], a["method"]),
        "payments/open": lambda a: box.order(from_json(Order, a["order"]), a["notify"]),
        "payments/charge": lambda a: box.charge(from_json(Order, a["order"]), a["method"], a["notify"]),
        "payments/fetch": lambda a: box.payments.get(a["id"]),
        "payments/find": lambda a: box.find(a["order"]),
        "payments/capture": lambda a: box.capture(
            a["id"], from_json(Money, a["amount"]) if a["amount"] else None
        ),
        "payments/cancel": lambda a: box.cancel(a["id"]),
        "payments/refund": lambda a: box.refund(a["id"], from_json(Money, a["amount"]), a["refund"]),
        "subscriptions/fetch": lambda a: box.subscriptions.get(a["id"]),
        "subscriptions/cancel": lambda a: box.cancel_subscription(a["id"], at_period_end=a["at_period_end"]),
        "invoices/create": lambda a: box.create_invoice(from_json(InvoiceDraft, a["draft"]), a["notify"]),
        "invoices/fetch": lambda a: box.invoices.get(a["id"]),
        "invoices/pay": lambda a: box.pay_invoice(a["id"], a["method"]),
        "invoices/void": lambda a: box.void_invoice(a["id"]),
        "usage/push": lambda a: [box.push(from_json(UsageTotal, each), a["notify"]) for each in a["totals"]],
        "usage/summary": lambda a: box.usage.summary(a["customer"], a["meter"], a["start_us"], a["end_us"]),
        "usage/complaints": lambda a: box.usage.complaints.get(a["event"], []),
        "catalogue/sync": lambda a: [box.sync(from_json(Item, each)) for each in a["items"]],
        "test/faults": server.fault,
        "test/pay": lambda a: box.pay(a["id"], CARDS[a["card"]], card(a["card"])),
        "test/dispute": lambda a: box.dispute(a["id"], from_json(DisputeFacts, a["dispute"])),
        "test/drop_usage": lambda a: box.drop_usage(a["identifier"], a["why"]),
        "test/renew": lambda a: box.renew(a["id"], a["state"]),
        "test/release": lambda _: server.news.release(),
    }


def _json(status: int, answer: Any) -> tuple[int, str, bytes]:
    return status, "Content-Type: application/json", json.dumps(answer).encode()
