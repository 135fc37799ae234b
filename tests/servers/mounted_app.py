"""A metered app inside another one, which passes no lifespan on to it."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route

from metergate import MeterGate, current

POLICY = {
    "metergate": 1,
    "meters": {"requests": {"count": "calls"}},
    "prices": {"requests": {"price": "0.01"}},
    "routes": [{"match": "GET /paid/{name}", "meter": "requests"}],
}


async def who(request: Request) -> Response:
    return PlainTextResponse(current.account)


async def seen(request: Request) -> Response:
    return PlainTextResponse("open")


inner = Starlette(routes=[Route("/who", who)])
app = Starlette(routes=[Mount("/paid", MeterGate(inner, POLICY)), Route("/public/seen", seen)])
