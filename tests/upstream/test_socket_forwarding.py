"""A WebSocket is forwarded for any front that knows its caller: here one of lists, without ASGI."""

import asyncio

from websockets.frames import Opcode
from websockets.utils import apply_mask

from metergate.upstream import Handshake, SocketForwarding, Way
from metergate.upstream.response import Headers
from metergate.upstream.socket import Closing
from tests.upstream.house import Line, saying
from tests.upstream.test_forwarding import leading_to
from tests.upstream.test_socket import frame, shake


class Caller:
    """Says these messages and then hears, until it is closed."""

    def __init__(self, *messages: str | bytes, takes_answers: bool = True) -> None:
        self.messages = list(messages)
        self.takes_answers = takes_answers
        self.accepted = False
        self.declined: tuple[int, bytes] | None = None
        self.heard: list[str | bytes] = []
        self.closed: Closing | None = None

    async def accept(self, subprotocol: str | None, headers: Headers) -> None:
        self.accepted = True

    async def decline(self, status: int, headers: Headers, body: bytes) -> None:
        self.declined = (status, body)

    async def hear(self) -> str | bytes | Closing:
        if not self.messages:
            await asyncio.Event().wait()
        return self.messages.pop(0)

    async def say(self, message: str | bytes) -> None:
        self.heard.append(message)

    async def close(self, closing: Closing) -> None:
        self.closed = closing


async def said(line: Line) -> tuple[int, bytes]:
    """The next short frame of a client, which masks what it says."""
    first, length = await line.reader.readexactly(2)
    mask = await line.reader.readexactly(4)
    return first & 15, apply_mask(await line.reader.readexactly(length & 127), mask)


async def forwarded(way: Way, caller: Caller) -> None:
    head = way.heads.write("GET", b"/socket", [], ("203.0.113.7", "https"), "req_1")
    await SocketForwarding(way, caller).run(head.data, Handshake.new(()))


async def test_messages_pass_in_both_directions_until_one_side_closes() -> None:
    """Each as it was said, text or bytes; and the caller hears why it ended."""

    async def script(line: Line) -> None:
        await shake(line)
        assert await said(line) == (Opcode.TEXT, b"ping")
        assert await said(line) == (Opcode.BINARY, b"\0")
        answers = frame(Opcode.TEXT, b"pong") + frame(Opcode.BINARY, b"\1")
        await line.say(answers + frame(Opcode.CLOSE, b"\x03\xe8bye"))
        await line.closed()

    async with leading_to(script) as (_, way):
        caller = Caller("ping", b"\0")
        await forwarded(way, caller)
    assert caller.accepted
    assert caller.heard == ["pong", b"\1"]
    assert caller.closed == Closing(1000, "bye")


async def test_the_refusal_of_the_upstream_is_the_answer_where_the_caller_can_be_told_one() -> None:
    refusal = b"HTTP/1.1 403 No\r\nContent-Length: 4\r\n\r\nnope"
    told, closed = Caller(), Caller(takes_answers=False)
    for caller in (told, closed):
        async with leading_to(saying(refusal)) as (_, way):
            await forwarded(way, caller)
        assert not caller.accepted
    assert (told.declined, told.closed) == ((403, b"nope"), None)
    assert (closed.declined, closed.closed) == (None, Closing(1000))
