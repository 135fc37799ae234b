"""What both APIs say of themselves: documents for generators, pages for people."""

import json
import re
from collections.abc import Mapping
from html.parser import HTMLParser
from typing import Any

import pytest
from openapi_spec_validator import validate

from metergate.api.operations import ENDPOINTS, OWN
from tests.admin.bench import Bench
from tests.api.client import Client, customer, operator

SIDES = {"operator": ("", ENDPOINTS), "customer": ("/billing/v1", OWN)}
VOID = {"meta", "link", "input"}


class Page(HTMLParser):
    """What a browser would find; a tag that is not closed is an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, Mapping[str, str | None]]] = []
        self.bodies: dict[tuple[str | None, str | None], str] = {}
        """What forms offer to send."""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "textarea":
            form = [attrs for tag, attrs in self.found if tag == "form"][-1]
            self.bodies[form["data-method"], form["data-path"]] = data

    def values(self, name: str) -> set[str]:
        return {value for _, attrs in self.found if (value := attrs.get(name)) is not None}


@pytest.fixture(params=SIDES)
def side(request: pytest.FixtureRequest, bench: Bench) -> tuple[Client, str, Any]:
    """A client without a token or a key, where the side is, and its endpoints."""
    root, endpoints = SIDES[request.param]
    return (operator(bench, "") if request.param == "operator" else customer(bench, "")), root, endpoints


async def test_the_document_is_whole_and_valid(side: tuple[Client, str, Any]) -> None:
    """Every path is described, every reference leads somewhere, every operation has a name of its own."""
    ask, root, endpoints = side
    document = await ask.ok("GET", f"{root}/openapi.json")
    validate(document)
    described = {(method, path) for path, methods in document["paths"].items() for method in methods}
    prefix = root or "/admin/v1"
    assert {(each.method.lower(), prefix + each.path) for each in endpoints} <= described
    operations = [each for methods in document["paths"].values() for each in methods.values()]
    assert len({each["operationId"] for each in operations}) == len(operations)
    secrets = document["components"].pop("securitySchemes")
    assert document["security"] == [{name: []} for name in secrets]
    assert "http" not in str(document)


async def test_a_body_that_is_taken_says_what_it_must_have(bench: Bench) -> None:
    schemas = (await operator(bench, "").ok("GET", "/openapi.json"))["components"]["schemas"]
    assert schemas["NewGrant"]["required"] == ["account", "amount"]
    assert schemas["NewGrant"]["additionalProperties"] is False


async def test_the_page_shows_everything_and_every_link_leads_somewhere(
    side: tuple[Client, str, Any],
) -> None:
    ask, root, _ = side
    answer = await ask("GET", f"{root}/docs")
    assert (answer.status, answer.header("content-type")) == (200, "text/html; charset=utf-8")
    page = Page(answer.body.decode())
    document = await ask.ok("GET", f"{root}/openapi.json")
    forms = {(attrs["data-method"], attrs["data-path"]) for tag, attrs in page.found if tag == "form"}
    assert forms == {(m.upper(), path) for path, methods in document["paths"].items() for m in methods}
    assert set(document["components"]["schemas"]) <= page.values("id")
    links = page.values("href") - {"openapi.json", "docs/page.css"}
    assert {link.removeprefix("#") for link in links} <= page.values("id")


async def test_nothing_of_the_page_comes_from_elsewhere(side: tuple[Client, str, Any]) -> None:
    """No script and no style inside it, and a policy that would stop any other."""
    ask, root, _ = side
    answer = await ask("GET", f"{root}/docs")
    text = answer.body.decode()
    page = Page(text)
    assert page.values("src") == {"docs/page.js"}
    assert "//" not in re.sub(r"<!doctype html>", "", text)
    assert not [name for _, attrs in page.found for name in attrs if name == "style" or name.startswith("on")]
    rules = (answer.header("content-security-policy") or "").split("; ")
    assert {"default-src 'none'", "script-src 'self'", "style-src 'self'"} <= set(rules)
    for name, kind in (("page.css", "text/css"), ("page.js", "text/javascript")):
        asset = await ask("GET", f"{root}/docs/{name}")
        assert (asset.status, asset.header("content-type")) == (200, f"{kind}; charset=utf-8")
        assert b"http" not in asset.body
        assert asset.header("x-content-type-options") == "nosniff"


async def test_the_bodies_to_begin_with_are_understood(bench: Bench) -> None:
    """What the page offers to send has everything that a body must have."""
    ask = operator(bench)
    page = Page((await ask("GET", "/docs")).body.decode())
    for path in ("/admin/v1/accounts", "/admin/v1/grants", "/admin/v1/keys"):
        await ask.ok("POST", path, json.loads(page.bodies["POST", path]))
    assert (await ask.ok("GET", "/admin/v1/accounts/acct_1/credits"))["balance"]["amount"] == "5.00"
