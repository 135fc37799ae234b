"""The description of an API as one page for people: nothing of it comes from elsewhere.

The page is made from the OpenAPI document once. A small script of our own sends requests from it; who does
without scripts still has everything to read.
"""

from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from metergate.api.endpoints import NO_STORE, Answer, answered
from metergate.api.pages.page import html

DESCRIPTION: Final = "/openapi.json"
PAGE: Final = "/docs"
ASSETS: Final = {"/docs/page.css": "text/css", "/docs/page.js": "text/javascript"}
HEADERS: Final = {
    **NO_STORE,
    "content-security-policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


def paths(root: str = "") -> Iterator[str]:
    """What needs no secret."""
    return (root + path for path in (DESCRIPTION, PAGE, *ASSETS))


def routes(document: Mapping[str, Any], root: str = "") -> list[Route]:
    """The description, and the page of it."""

    async def described(_request: Request) -> Response:
        return answered(document)

    kept = files("metergate.api.pages")
    found = [
        Route(
            root + path, _file(kept.joinpath(path.removeprefix("/docs/")).read_bytes(), kind), methods=["GET"]
        )
        for path, kind in ASSETS.items()
    ]
    page = _file(html(document, root + PAGE).encode(), "text/html")
    return [
        Route(root + DESCRIPTION, described, methods=["GET"]),
        Route(root + PAGE, page, methods=["GET"]),
        *found,
    ]


def _file(content: bytes, kind: str) -> Answer:
    async def answer(_request: Request) -> Response:
        return Response(content, headers=HEADERS, media_type=kind)

    return answer
