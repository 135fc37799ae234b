"""What reads bytes of others, and what each promises whatever the bytes are."""

import contextlib
import json
import random
import struct
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import unquote

import httptools
import msgspec

from metergate import meters
from metergate.admin import strict_json
from metergate.asgi import reading
from metergate.asgi.forward_auth import _asked
from metergate.asgi.request_headers import HeaderReader, preflight_for, without_own
from metergate.config import scalars
from metergate.config.loader import loads
from metergate.config.problems import PolicyError, Problem
from metergate.core import keys, match, money, periods
from metergate.core.budget import BALANCE, Draw
from metergate.core.hold import Terms
from metergate.core.idempotency import check_key
from metergate.core.money import UNITS_MAX
from metergate.core.policy import Meter, Route, Upstream
from metergate.errors import ConfigurationError, InvalidInput
from metergate.gate import tickets
from metergate.gate.tickets import Ticket
from metergate.ledger import Ledger
from metergate.meters import Unreadable, json_path, prompts, regex, reported, usage
from metergate.meters.body import fields, whole
from metergate.meters.events import Events, split
from metergate.meters.include_usage import Hiding
from metergate.provider_port import Forged
from metergate.store.journal import HEADER, MAGIC, Record, read_segment
from metergate.upstream import BadRequestError, origin
from metergate.upstream.request_head import Client, HeadWriter
from metergate.wire import Unreadable as NotOurs
from metergate.wire import decode_events, decode_holds, decode_outcome, decode_terms, encode_terms, join_holds
from metergate_redis import address
from metergate_sandbox.news import SIGNATURE, proven, signed
from tests.fuzz import arguments
from tests.fuzz.seeds import ADDRESSES, BODIES, HEADERS, KEY, PATHS, POLICIES, STREAMS, TEXTS, TRAPS, USAGE


class Target(NamedTuple):
    promise: Callable[[bytes], None]
    seeds: Sequence[bytes]
    words: Sequence[bytes] = ()


# -- keys and paths ----------------------------------------------------------------------------------------


def a_key_is_one_or_none(data: bytes) -> None:
    """Only what was minted is a key, and one changed letter is enough to be none."""
    text = data.decode("latin-1")
    key = keys.parse(text)
    if key is not None:
        assert len(text) == len(KEY)
        assert keys.parse(key.text) == key
        assert text.isascii()
        for at, letter in enumerate(text):
            assert keys.parse(text[:at] + ("0" if letter != "0" else "1") + text[at + 1 :]) is None


WRITER = HeadWriter(
    origin.parse("http://up.example"), Upstream("http://up.example"), ("authorization", "x-api-key")
)
CLIENT: Client = ("192.0.2.1", "http")


def the_upstream_is_sent_what_the_policy_saw(data: bytes) -> None:
    """A path that is accepted means one thing to the policy, to the app, to a parser, and to the upstream."""
    raw, _, query = data.partition(b"?")
    found = match.canonical(raw)
    if found.problem:
        assert found.path == ""
        return
    assert unquote(raw.decode("ascii")) == found.path
    assert "//" not in found.path
    assert not {".", ".."} & set(found.path.split("/"))
    assert all(letter.isprintable() or letter == "\xad" or ord(letter) > 0x9F for letter in found.path)
    assert raw.count(b"/") == found.path.count("/")
    for target in (raw, raw + b"?" + query):
        try:
            head = WRITER.write("GET", target, [], CLIENT).data
        except BadRequestError:
            assert target != raw, "what the policy accepts is written"
            continue
        assert head.startswith(b"GET %b HTTP/1.1\r\nhost: up.example\r\n" % target)
        assert httptools.parse_url(target).path == raw
    assert match.canonical(raw.upper()).path == found.path.upper() or not raw.isalpha()


class Parsed:
    """A request as httptools reads it."""

    def __init__(self, data: bytes) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.begun = 0
        self.complete = False
        httptools.HttpRequestParser(self).feed_data(data)

    def on_message_begin(self) -> None:
        self.begun += 1

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_message_complete(self) -> None:
        self.complete = True


CONTROLS = bytes({*range(32), 127} - {9, 13})
"""No server passes them on; a line break alone is tried, for it would be another header."""


def read_headers(data: bytes) -> list[tuple[bytes, bytes]]:
    """Names and values out of lines, as servers hand them on: in small letters, without ends and controls."""
    lines = [line.translate(None, CONTROLS).partition(b":") for line in data.split(b"\n") if line]
    return [(name.lower(), value.strip(b" \t")) for name, _, value in lines]


def a_forwarded_head_is_one_request(data: bytes) -> None:
    """It has one host, no credential of the client's, nothing in our name, and is framed once."""
    try:
        head = WRITER.write("POST", b"/x", read_headers(data), CLIENT, "req_1")
    except BadRequestError:
        return
    assert head.data.startswith(b"POST /x HTTP/1.1\r\n")
    parsed = Parsed(head.data + b"content-length: 0\r\n\r\n")
    assert parsed.begun == 1 and parsed.complete
    names = [name for name, _ in parsed.headers]
    assert names.count(b"host") == 1
    assert names.count(b"content-length") == 1
    assert not {b"authorization", b"x-api-key", b"cookie", b"transfer-encoding", b"connection"} & set(names)
    assert [value for name, value in parsed.headers if name.startswith(b"metergate-")] == [b"req_1"]
    assert not any(b"_" in name for name in names)
    assert names.count(b"x-forwarded-for") == 1


READER = HeaderReader(("authorization", "x-api-key"))


def headers_are_read_without_a_word(data: bytes) -> None:
    """Whatever they hold: keys that are texts of bounded length, and nothing of ours is left."""
    headers = read_headers(data)
    seen = READER.read(headers)
    assert all(0 < len(key) <= keys.LENGTH_MAX + 1 for key in seen.keys)
    assert len(set(seen.keys)) == len(seen.keys)
    assert seen.forged == (len(without_own(headers)) < len(headers))
    preflight_for("OPTIONS", headers)
    scope = {"headers": headers, "path": "/authz/v1/forward", "method": "GET", "query_string": b""}
    _asked(scope)
    assert reading._announced(scope) >= 0
    for _, value in headers:
        problem = check_key(value.decode("latin-1"))
        assert problem or value.isascii()


# -- policies ----------------------------------------------------------------------------------------------

ENVIRON = {"OPENAI_API_KEY": "planted", "UPSTREAM_KEY": "planted"}
SLOW_S = 10.0


def a_policy_loads_or_says_why(data: bytes) -> None:
    """Every failure is a PolicyError whose problems have a file, a line and a column; none takes long."""
    started = time.process_time()
    told: Sequence[Problem] = ()
    try:
        loads(data, "policy.yaml", ENVIRON)
    except PolicyError as error:
        told = error.problems
        assert told
    for problem in told:
        assert problem.file == "policy.yaml"
        assert problem.line >= 1 and problem.column >= 1, problem
        assert problem.message
    assert time.process_time() - started < SLOW_S


# -- what processes tell themselves ------------------------------------------------------------------------

RECORDS = [
    Record(kind, random.Random(kind).randbytes(size)) for kind, size in ((1, 40), (2, 300), (3, 1), (2, 70))
]


def segment(records: Sequence[Record]) -> bytes:
    from zlib import crc32

    parts = [HEADER.pack(len(p), crc32(p, kind), kind) + p for kind, p in records]
    return b"".join([MAGIC, *parts, bytes(512)])


def a_journal_invents_nothing(data: bytes) -> None:
    """What is read was written, whatever has become of what stands around it."""
    for record in read_segment(data):
        assert record in RECORDS, record


def flipped(whole: bytes) -> list[bytes]:
    """Every single flip of a bit in the first records, and every place to be cut off at."""
    cut = [whole[:end] for end in range(0, len(whole) - 500, 3)]
    bits = []
    for at in range(len(MAGIC), len(MAGIC) + 120):
        for bit in range(8):
            changed = bytearray(whole)
            changed[at] ^= 1 << bit
            bits.append(bytes(changed))
    return [*cut, *bits]


TERMS = Terms("ada", "kid", "", "v", "", "* /**", "requests", "USD", (Draw(BALANCE, "credits:ada", 5, 0, 9),))
TICKET = Ticket(
    "hold_1_a",
    "req_1",
    "/x",
    1,
    msgspec.Raw(encode_terms(TERMS)),
    (),
    1,
    5,
    0,
    True,
    True,
    False,
    b"{}",
    None,
)
PEPPERS = {1: b"an old pepper", 2: b"a new pepper"}
SEALED = tickets.seal(TICKET, PEPPERS)


def a_ticket_is_one_that_was_given(data: bytes) -> None:
    """Whatever is sent back in its place opens nothing."""
    found = tickets.unseal(data.decode("latin-1"), PEPPERS)
    assert found is None or msgspec.msgpack.encode(found) == msgspec.msgpack.encode(TICKET)


NEWS = b'{"id":"evt_1"}'
SIGNED = signed(NEWS, "the secret", 10**15)[SIGNATURE]


def a_signature_is_the_one_that_was_made(data: bytes) -> None:
    """Whatever else stands in its place is a forgery, and nothing worse."""
    text = data.decode("latin-1")
    for secrets in (("the secret", "an older one"), ("another",)):
        try:
            proven({SIGNATURE: text}, NEWS, secrets, 10**15)
        except Forged:
            continue
        except (KeyError, TypeError, ValueError):  # it was proven, and only then read
            assert SIGNED.split(",v1=")[1] in text
            assert secrets[0] == "the secret"


DECODERS: Sequence[Callable[[bytes], object]] = (decode_events, decode_holds, decode_terms, decode_outcome)


def bytes_of_others_are_unreadable(data: bytes) -> None:
    """Terms, outcomes, holds and events are read, or said to be none of ours."""
    for decoder in DECODERS:
        try:
            decoder(data)
        except NotOurs:
            continue


WIRE = (
    join_holds(["op"], ["req"], [b"\x90"], [None]),
    b"\0\0\0\1\x97",
    b"\0\0\0\2\x98" + b"\x91\x00" * 8,
    struct.pack(">I", 2),
    b"\x95\x91\xc4\x01\x90\x91\x00\x91\xa2\xff\xfe\x91\xa3req\x91\xc0",
)


# -- JSON --------------------------------------------------------------------------------------------------


def json_means_one_thing(data: bytes) -> None:
    """What is taken is what any other reader takes it for."""
    try:
        value = strict_json.decode(data)
    except InvalidInput:
        return
    assert value == json.loads(data)
    json.dumps(value, ensure_ascii=False).encode()


METERS = (
    Meter("a", "llm"),
    Meter("b", "mcp"),
    Meter("c", "json", path="$.n", of="request"),
    Meter("d", "json", path="$.a[0].b", of="request", otherwise=1, dimensions=(("m", "$.model"),)),
)
ROUTE = Route(0, "POST /**", "POST", "/**", meter="a")


def a_body_is_read_or_refused(data: bytes) -> None:
    """What it asks for is a bounded number of known kinds; the app gets the bytes that were read."""
    for meter in METERS:
        for path in ("/v1/chat/completions", "/v1beta/models/x:generateContent"):
            try:
                found = meters.read(meter, ROUTE, path, data)
            except Unreadable:
                continue
            assert found.asked.units is None or 0 <= found.asked.units <= UNITS_MAX * 4
            assert all(count > 0 for _, count in found.asked.counts)
            assert found.hides_usage or found.body == data
    for reader in (whole, lambda body: fields(body, prompts.SAID)):
        try:
            reader(data)
        except Unreadable:
            continue


def usage_is_believed_or_not(data: bytes) -> None:
    """A count of every kind, none below zero and none beyond what money can count; or no usage at all."""
    for found in (
        reported.found(data),
        reported.found_in_tail(data, *reported.OF_BODY),
        reported.found_in_tail(data, *reported.OF_EVENT),
    ):
        counts = usage.counted(found.usage) if found else None
        assert counts is None or all(0 < each <= UNITS_MAX for _, each in counts)
    for count, more in (
        ("json", {"path": "$.usage.total"}),
        ("regex", {"pattern": "([0-9]+)"}),
        ("llm", {}),
        ("cost", {"path": "$.usage.cost"}),
    ):
        counter = meters.new(Meter("x", count, **more), lambda: 0, {})  # type: ignore[arg-type]  # as the meter takes them
        assert counter is not None
        for kind in (b"application/json", b"text/event-stream"):
            counter.start(
                200,
                [(b"content-type", kind), (b"content-encoding", b"gzip" if data[:2] == b"\x1f\x8b" else b"")],
            )
            counter.feed(data)
        units = counter.finish()
        assert units is None or 0 <= units <= UNITS_MAX, units


def a_stream_is_what_it_is_however_it_is_cut(data: bytes) -> None:
    """The events do not depend on the chunks, and a stream without usage passes as it came."""
    chance = random.Random(data)
    told, ways = [], (len(data) or 1, 1, chance.randint(1, 7), chance.randint(1, 99))
    for step in ways:
        events, hiding = Events(1 << 20, 1 << 16), Hiding()
        chunks = [data[at : at + step] for at in range(0, len(data), step)]
        whole_events = b"".join(events.feed(chunk) for chunk in chunks)
        rest = events.take()
        assert whole_events + rest == data
        shown = b"".join([*(hiding.feed(chunk) for chunk in chunks), hiding.end()])
        if b"usage" not in data:
            assert shown == data
        told.append(([each for each in split(whole_events) if each.strip()], rest.strip(), shown.split()))
    assert all(each == told[0] for each in told), told


# -- texts of operators and customers ----------------------------------------------------------------------


def a_text_is_a_value_or_a_sentence(data: bytes) -> None:
    """Amounts, times, lengths, paths, patterns, matches, words and addresses are refused as what they are."""
    text = data.decode("utf-8", "surrogateescape")
    readers: Sequence[tuple[Callable[[str], object], type[Exception]]] = (
        (money.parse, ValueError),
        (money.units, ValueError),
        (periods.parse_time, ValueError),
        (periods.duration_us, ValueError),
        (json_path.compiled, ValueError),
        (scalars.value, ValueError),
        (match.problem, ValueError),
    )
    for reader, wrong in readers:
        try:
            reader(text)
        except wrong:
            continue
    if text.isascii() and len(text) < 200:
        with contextlib.suppress(ValueError), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            regex.compiled(text)
    if match.problem(text) is None:
        method, pattern = match.split(text)
        match.compile([Route(0, text, method, pattern)])("GET", "/a/b")


def an_address_is_one_or_a_sentence(data: bytes) -> None:
    """Of a store, a ledger, an upstream; what is wrong with it never shows what stands in it."""
    text = data.decode("utf-8", "surrogateescape")
    for reader in (address.parse, lambda url: Ledger.open(url).close(), origin.parse):
        told = ""
        try:
            reader(text)
        except ConfigurationError as error:
            told = str(error)
        assert "pl4nted" not in told, told


TARGETS: Mapping[str, Target] = {
    "keys": Target(
        a_key_is_one_or_none, (KEY.encode(), keys.mint("test", random.Random(2).randbytes).encode(), b"")
    ),
    "paths": Target(the_upstream_is_sent_what_the_policy_saw, PATHS),
    "heads": Target(a_forwarded_head_is_one_request, HEADERS, (b"\n", b": ", b"host", b"_")),
    "headers": Target(headers_are_read_without_a_word, HEADERS, (b"\n", b": ", b"metergate-")),
    "policies": Target(
        a_policy_loads_or_says_why,
        (*POLICIES, *(trap for trap in TRAPS if len(trap) < 2000)),
        (b"*a", b"&a ", b"<<: ", b"${A}", b"\n  - ", b": "),
    ),
    "journal": Target(a_journal_invents_nothing, (*flipped(segment(RECORDS * 4)), segment(RECORDS))),
    "arguments": Target(arguments.arguments_are_what_was_asked, arguments.ASKED, arguments.WORDS),
    "wire": Target(bytes_of_others_are_unreadable, WIRE),
    "signatures": Target(a_signature_is_the_one_that_was_made, (SIGNED.encode(), b"t=1,v1=", b"", b"v1,t")),
    "tickets": Target(
        a_ticket_is_one_that_was_given, (SEALED.encode(), SEALED.encode() + b"=", b"hold_", b"hold_AAAA")
    ),
    "json": Target(
        json_means_one_thing, (*BODIES, *USAGE, b'{"a":1,"a":2}', b'"\\ud800"', b"1e400", b"-0.0")
    ),
    "bodies": Target(a_body_is_read_or_refused, BODIES),
    "usage": Target(usage_is_believed_or_not, (*USAGE, b"\x1f\x8b\x08")),
    "streams": Target(
        a_stream_is_what_it_is_however_it_is_cut, STREAMS, (b"\n", b"\r", b"\n\n", b"\r\n\r\n", b"data:")
    ),
    "texts": Target(a_text_is_a_value_or_a_sentence, TEXTS),
    "addresses": Target(an_address_is_one_or_a_sentence, ADDRESSES, (b"pl4nted", b"@", b":", b"?", b"[")),
}
