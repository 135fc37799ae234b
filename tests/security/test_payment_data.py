"""Card numbers never come here, and what is kept of people is what the page says."""

import json
import logging
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from metergate.ledger import inbox
from metergate.ledger.columns import metadata
from metergate.provider_port.http import ask
from tests.api.client import problem
from tests.billing.bench import opened
from tests.billing.test_over_http import House, a_house
from tests.house.rules import ROOT

CARD, CODE = "4242424242424242", "737"
DAY_S = 86_400
ROW = re.compile(r"^\| `(\w+)` \| (.+?) \|", re.MULTILINE)
TOLD = re.compile(r"`(\w+)`")
PERSONAL = re.compile(r"name|email|body|headers|method|description|url|details|metadata|path|actor")
"""Columns that may tell of a person."""


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with a_house(tmp_path) as made:
        yield made


def holding(folder: Path, text: str) -> list[Path]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert any(path.name.startswith("ledger.sqlite") for path in files)
    return [path for path in files if text.encode() in path.read_bytes()]


async def test_what_is_typed_on_the_providers_page_never_comes_here(
    house: House, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    ada = await house.customer()
    bought = await ada.ok("POST", "/billing/v1/checkout", {"amount": "5.00"})
    await ask("POST", bought["url"], body=f"card={CARD}&cvc={CODE}".encode())
    for body in house.server.news.sent:
        assert (await house.tell(body)).status == 200
    await house.handled()
    shown = await ada.ok("GET", f"/billing/v1/payments/{bought['id']}")
    assert shown["method"] == {"type": "card", "brand": "visa", "last4": CARD[-4:]}
    news = await house.operator.ok("GET", "/admin/v1/webhooks")
    for said in (caplog.text, json.dumps(shown), json.dumps(news)):
        assert CARD not in said
    assert holding(tmp_path / "data", CARD) == []


@pytest.mark.parametrize("number", [CARD, "4242 4242 4242 4242", "3782-822463-10005"])
async def test_a_card_number_goes_nowhere(
    house: House, tmp_path: Path, caplog: pytest.LogCaptureFixture, number: str
) -> None:
    caplog.set_level(logging.DEBUG)
    ada = await house.customer()
    charged = {"account": "ada", "amount": "5.00", "method": number}
    answers = [
        await ada("POST", "/billing/v1/payment-methods", {"token": number}),
        await house.operator("POST", "/admin/v1/payments", charged),
    ]
    for answer in answers:
        assert (answer.status, "Send no card number" in problem(answer)["detail"]) == (400, True)
        assert number not in answer.body.decode()
    assert list(house.server.asked) == []
    assert number not in caplog.text
    assert holding(tmp_path / "data", number) == []


async def test_the_bytes_of_news_are_forgotten_a_month_after_it_was_handled(tmp_path: Path) -> None:
    async with opened(f"sqlite:///{tmp_path / 'ledger.sqlite'}") as bench:
        await bench.paid()
        first, second = bench.deliveries()[:2]
        await bench.deliver([first])
        await bench.handle()
        bench.clock.advance(seconds=29 * DAY_S)
        await bench.deliver([second])
        await bench.rounds.run_once()
        assert [bool(each.body) for each in await bench.events()] == [True, True]
        bench.clock.advance(seconds=2 * DAY_S)
        await bench.rounds.run_once()
        newer, older = await bench.events()
        assert (newer.body, older.body, older.headers) == (second, b"", "{}")
        # What was read in the bytes is still there to be handled again.
        await bench.ledger.write(lambda tx: inbox.replay(tx, bench.clock()))
        await bench.handle()
        assert {each.state for each in await bench.events()} == {inbox.DONE}


def test_the_page_lists_what_is_kept_of_people() -> None:
    """A column that may tell of a person stands on the page, and the page names none that is not there."""
    page = (ROOT / "docs" / "payments-security.md").read_text(encoding="utf-8")
    rows = ROW.findall(page)
    listed = {table: set(TOLD.findall(columns)) for table, columns in rows}
    assert len(listed) == len(rows), "A table has one row."
    tables = metadata.tables
    for table, columns in listed.items():
        there = {column.name for column in tables[table].columns}
        assert columns <= there, table
        assert {name for name in there if PERSONAL.fullmatch(name)} <= columns, table
