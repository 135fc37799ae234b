"""What a turn sends to its script is what it was asked for, whatever ids, texts and numbers it holds."""

import asyncio
import json
import re
from collections.abc import Iterator, Sequence
from itertools import islice

import hiredis

from metergate.core.budget import BALANCE, COST, QUOTA, RATE, UNITS, Draw
from metergate.core.hold import Event
from metergate.core.idempotency import Twin
from metergate.errors import InvalidInput
from metergate.ports import Hold, Settle
from metergate.wire import join_events
from metergate_redis.scripts import SCRIPTS
from metergate_redis.template import Templates
from metergate_redis.turn import EVENTS_AT_ONCE, Turn

NUMBER = re.compile(rb"-?(0|[1-9][0-9]*)")
SHARD = "{0}:"


class Nobody:
    """A shard that nothing comes back from."""

    def spent(self, turn: Turn, reply: object) -> bytes | None:
        raise AssertionError("a turn that was not sent has no reply")

    def landed(self) -> None: ...

    def settle_singly(self, settling: object, place: int, settle: Settle) -> None: ...


LOOP = asyncio.new_event_loop()


def arguments_are_what_was_asked(data: bytes) -> None:
    """As many as are counted; no text becomes another, and no number loses a digit."""
    holds, settles = _asked(data)
    turn = Turn(LOOP, Nobody(), Templates(SHARD))
    turn.epoch = "e"
    try:
        turn.hold(holds, 7)
    except InvalidInput:
        assert any("\n" in hold.request_id for hold in holds)
        return
    turn.settle(settles, 7)
    turn.release([hold.op for hold in holds], 7)
    reader = hiredis.Reader()
    reader.feed(turn.request(SHARD, 5, 6))
    told = reader.gets()
    assert isinstance(told, list) and reader.gets() is False
    arguments = iter(told)
    assert list(islice(arguments, 8)) == [
        *(b"EVALSHA", SCRIPTS["turn"].sha, b"1", SHARD.encode()),
        *(b"oe", b"5", b"6", b"7"),
    ]
    _read(arguments, holds, settles)
    assert not list(arguments)


def _asked(data: bytes) -> tuple[list[Hold], list[Settle]]:
    """Holds and settles made of the bytes: the pieces between 255s are texts, and digits are numbers."""
    texts = [line.decode("utf-8", "replace") for line in data.split(b"\xff")] or [""]
    numbers = [int(found[:27]) for found in re.findall(rb"-?[0-9]+", data)] or [0]
    holds, settles = [], []
    for n, text in enumerate(texts[:80]):
        number, other = numbers[n % len(numbers)], numbers[-1 - n % len(numbers)]
        draws = (
            Draw(BALANCE, f"credits:{text}", number, other, 0, 0, COST),
            Draw(RATE, f"rate:{text}", number, other, number, 0, UNITS),
            Draw(QUOTA, f"used:{text}", other, number, other, abs(number) % 2**52, UNITS),
        )[: n % 4]
        twin = Twin(text, texts[0], number % 2**52) if n % 3 == 0 else None
        request = texts[-1 - n] if n % 2 else text
        holds.append(Hold(text, text, n % 2, draws, 9, data[: n * 5], request, twin, n % 5 > 0))
        event: Event = (text, request, 0, text, data, None, None)
        amounts = (number, other)[: n % 3] or None
        settles.append(Settle(text, amounts, event, data if n % 2 else None))
    return holds, settles


def _run(arguments: Iterator[bytes]) -> tuple[int, tuple[object, ...]]:
    """How many holds are alike, and what each is."""
    count, expires, generation, key, remembered, draws = islice(arguments, 6)
    assert expires == b"9"
    flat = list(islice(arguments, 6 * int(draws)))
    kept, terms = remembered.split(b"\n", 1)
    *known, account = json.loads(kept)
    assert [str(each).encode() for each in known] == flat and all(map(_exact, known))
    assert key == f"{SHARD}g:{account}".encode()
    return int(count), (account, int(generation), terms, flat)


def _exact(told: int | str) -> bool:
    """Lua reads numbers of JSON as doubles; a larger one has to come as text."""
    return isinstance(told, str) or abs(told) <= 2**53


def _plain(draws: Sequence[Draw]) -> list[bytes]:
    """A draw as budgets.lua reads it, in digits alone."""
    flat: list[object] = []
    for kind, name, amount, low, high, until_us, _ in draws:
        flat += (kind, f"{SHARD}b:{name}", amount, low * amount if kind == RATE else low, high, until_us)
    return [str(each).encode() for each in flat]


def _read(arguments: Iterator[bytes], holds: Sequence[Hold], settles: Sequence[Settle]) -> None:
    """As the script does, by the order that turn.lua tells."""
    groups, ends, releases, dispatches, runs, held = (int(next(arguments)) for _ in range(6))
    assert (ends, releases, dispatches, held) == (len(settles), len(holds), 0, len(holds))
    ended, special = ({each[0]: each[1:] for each in json.loads(next(arguments)) or ()} for _ in range(2))
    ops = [hold.op.encode() for hold in holds]
    assert (
        list(islice(arguments, ends + releases + held))
        == [settle.op.encode() for settle in settles] + ops * 2
    )
    assert all(map(NUMBER.fullmatch, islice(arguments, ends)))
    assert groups == -(-ends // EVENTS_AT_ONCE)
    for start in range(0, ends, EVENTS_AT_ONCE):
        group = [settle.event for settle in settles[start : start + EVENTS_AT_ONCE]]
        assert list(islice(arguments, 2)) == [str(len(group)).encode(), join_events(group)]
    together = [_run(arguments) for _ in range(runs)]
    assert [each for count, run in together for each in [run] * count] == [
        (hold.account, hold.generation, hold.terms, _plain(hold.draws)) for hold in holds
    ]
    extras = list(arguments)
    for place, settle in enumerate(settles, 1):
        amounts, answer = ended.get(place, (0, 0))
        assert (tuple(map(int, amounts)) if amounts else None) == settle.amounts
        assert all(map(_exact, amounts or ()))
        assert (extras[answer - 1] if answer else None) == settle.answer
    for place, hold in enumerate(holds, 1):
        dispatched, request, which = special.get(place, (1, 0, 0))
        assert (bool(dispatched), request or hold.op) == (hold.dispatched, hold.request_id or hold.op)
        assert (json.loads(extras[which - 1]) if which else None) == (
            list(hold.twin.fields) if hold.twin else None
        )


ASKED = (
    b"req_1",
    b"req_1\xffreq_2\xffcredits:ada\xff5\xff-3\xff4000000000000000",
    b"a\nb\xffa\xffb",
    b"$3\r\n*2\r\n\xff9007199254740993\xff{}\xff\xe2\x80\xa8",
    b"\xff".join(b"op%d" % n for n in range(70)),
)
WORDS = (b"\xff", b"\r\n", b"$-1\r\n", b"*1\r\n", b"4000000000000001", b"-9007199254740993")
