"""A shard: the keys under one tag, what this process knows of them, and the turn that is being collected.

Every script call names the epoch it means and the sequence that was seen last, and changes nothing where they
do not fit: a server that was emptied or rolled back is noticed before anything is done to it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import hiredis

from metergate.errors import StoreUnavailable
from metergate.ports import Held, Hold, Settle
from metergate_redis.connection import Connection, Parts
from metergate_redis.link import NO_MEMORY, Asked, Link, ask, value
from metergate_redis.scripts import SCRIPTS, Script
from metergate_redis.template import Templates
from metergate_redis.turn import OPS_AT_ONCE, Settling, Turn

A = TypeVar("A")
B = TypeVar("B")

GATHER_S = 0.001
"""How long calls wait for others to go with, at most."""
FLYING = 2
"""With so many turns on their way the next is gathered for a moment: a script call costs several calls."""
NO_EPOCH = "The counters are being filled from the ledger; try again in a moment."
OTHER_EPOCH = "The counters have been emptied, or are being filled from the ledger; try again in a moment."
GONE_BACK = "The counters have lost their last changes, and are about to be filled from the ledger."


def opened(epoch: str) -> str:
    """An epoch as it stands on the server while calls are served."""
    return f"o{epoch}"


def closed(epoch: str) -> str:
    return f"c{epoch}"


class Shard:
    def __init__(self, tag: str, backlog: int, templates: Templates, link: Link) -> None:
        self.tag = tag
        self.link = link
        self.epoch = ""
        self.sequence = 0
        """The highest that was seen in the epoch."""
        self.waiting = 0
        self.open = 0
        self.siblings: Sequence[Shard] = (self,)
        self._entered = ""
        self.doubt = NO_EPOCH
        """Why no epoch is entered, while none is."""
        self._run = ""
        self._backlog = backlog
        self._templates = templates
        self._loop = asyncio.get_running_loop()
        self._turn: Turn | None = None
        self._flying = 0

    # -- the epoch -----------------------------------------------------------------------------------------

    def enter(self, epoch: str, sequence: int) -> None:
        self._send()
        if epoch and epoch != self._entered:
            self._entered, self.sequence = epoch, 0
        self.epoch, self.sequence, self.doubt = epoch, max(sequence, self.sequence), NO_EPOCH

    def leave(self, why: str) -> None:
        """Believe nothing more until an epoch is entered again; what one shard lost concerns all of them."""
        for shard in self.siblings:
            shard.epoch, shard.doubt = "", why

    async def attach(self, connection: Connection) -> tuple[str, int]:
        """The epoch as it stands on the server, and its sequence."""
        epoch, seen, run = self.epoch, self.sequence, self.link.run
        reply = value(await ask(connection, b"EVALSHA", SCRIPTS["attach"].sha, 1, self.tag, run, self._run))
        assert isinstance(reply, list)
        there = reply[0].decode()
        sequence, met, self.waiting = map(int, reply[1:4])
        self.open = reply[4]
        if epoch and epoch == self.epoch:
            if there != opened(epoch):
                self.leave(OTHER_EPOCH)
            elif min(sequence, met) < seen:
                self.leave(GONE_BACK)
                there = closed(epoch)
                value(await self._evaluate(connection, "swap", opened(epoch), there))
        self._run = run
        return there, sequence

    def _evaluate(
        self, connection: Connection, name: str, *arguments: bytes | str | int
    ) -> asyncio.Future[object]:
        return ask(connection, b"EVALSHA", SCRIPTS[name].sha, 1, self.tag, *arguments)

    # -- turns ---------------------------------------------------------------------------------------------

    def hold(self, batch: Sequence[Hold], now_us: int) -> "asyncio.Future[Sequence[Held]]":
        if not 0 < len(batch) <= OPS_AT_ONCE:
            return self._in_parts(self.hold, batch, now_us)
        return self._ready().hold(batch, now_us)

    def settle(self, batch: Sequence[Settle], now_us: int) -> "asyncio.Future[Sequence[str]]":
        if not 0 < len(batch) <= OPS_AT_ONCE:
            return self._in_parts(self.settle, batch, now_us)
        return self._ready().settle(batch, now_us)

    def release(self, ops: Sequence[str], now_us: int) -> "asyncio.Future[Sequence[str]]":
        if not 0 < len(ops) <= OPS_AT_ONCE:
            return self._in_parts(self.release, ops, now_us)
        turn = self._ready()
        if any(map(turn.names, ops)):
            # Within a turn, ends come before holds.
            self._send()
            turn = self._ready()
        return turn.release(ops, now_us)

    def _in_parts(
        self, do: Callable[[Sequence[A], int], Awaitable[Sequence[B]]], batch: Sequence[A], now_us: int
    ) -> "asyncio.Future[Sequence[B]]":
        """A server does nothing else while it takes a turn, so none is long."""

        async def parts() -> Sequence[B]:
            starts = range(0, len(batch), OPS_AT_ONCE)
            return [each for n in starts for each in await do(batch[n : n + OPS_AT_ONCE], now_us)]

        return self._loop.create_task(parts())

    def dispatch(self, op: str) -> None:
        turn = self._ready()
        turn.dispatches.append(op)
        turn.size += 1

    def _ready(self) -> Turn:
        """The turn that is being collected; it goes at the end of this turn of the loop."""
        turn = self._turn
        if turn is None or turn.size >= OPS_AT_ONCE:
            if self.link.connection is None or not self.epoch:
                raise self.unusable()
            self._send()
            turn = self._turn = Turn(self._loop, self, self._templates)
            self._loop.call_soon(self._send_this, turn)
        return turn

    def _send_this(self, turn: Turn) -> None:
        if turn is not self._turn:
            return
        if self._flying < FLYING or turn.due:
            self._send()
        else:
            turn.due = True
            self._loop.call_later(GATHER_S, self._send_this, turn)

    def landed(self) -> None:
        """One turn less is on its way; the one that waited for it goes."""
        self._flying -= 1
        if self._turn is not None and self._turn.due:
            self._send()

    def _send(self) -> None:
        turn, self._turn = self._turn, None
        if turn is not None:
            turn.epoch = self.epoch
            self._deliver(turn)

    def _deliver(self, turn: Turn) -> None:
        connection = self.link.connection
        if connection is None or not turn.epoch:
            turn.fail(self.unusable())
        else:
            self._flying += 1
            connection.send_packed(turn.request(self.tag, self.sequence, self._backlog), turn)

    def spent(self, turn: Turn, reply: object) -> bytes | None:
        """The lines of a reply to a turn that was taken; None when it goes again, or has failed."""
        if isinstance(reply, hiredis.ReplyError):
            self._not_taken(turn, str(reply))
            return None
        text = reply[0] if isinstance(reply, list) else reply
        assert isinstance(text, bytes)
        if not text.startswith(b"K"):
            turn.fail(self._refused(text, turn.epoch))
            return None
        sequence, waiting, moved = text[1 : text.find(b"\n")].split()
        self.waiting = int(waiting)
        self.open += int(moved)
        self.saw(turn.epoch, int(sequence))
        return text

    def _not_taken(self, turn: Turn, error: str) -> None:
        if error.startswith("NOSCRIPT") and self.link.connection is not None and not turn.again:
            turn.again = True
            self._load(self.link.connection, SCRIPTS["turn"])
            self._deliver(turn)
        elif error.startswith("OOM") and turn.only_ends(StoreUnavailable(NO_MEMORY)):
            self._deliver(turn)
        else:
            self._elsewhere(error)
            why = NO_MEMORY if error.startswith("OOM") else f"The counter store refuses: {error}."
            turn.fail(StoreUnavailable(why))

    def _elsewhere(self, error: str) -> None:
        """The keys are with another server now, which has to be found first."""
        if error.startswith(("MOVED", "READONLY", "CLUSTERDOWN")):
            self.link.leave(f"it says {error}")

    def _refused(self, text: bytes, epoch: str) -> StoreUnavailable:
        """The script changed nothing, because the epoch or the sequence is not what it was."""
        why = GONE_BACK if text.startswith(b"L") else OTHER_EPOCH
        if epoch == self.epoch:
            self.leave(why)
        return StoreUnavailable(why)

    def saw(self, epoch: str, sequence: int) -> None:
        if epoch == self.epoch and sequence > self.sequence:
            self.sequence = sequence

    def settle_singly(self, settling: Settling, place: int, settle: Settle) -> None:
        try:
            self._ready().group(settling, place, (settle,))
        except StoreUnavailable as error:
            settling.failed(error)

    # -- the other scripts ---------------------------------------------------------------------------------

    async def run(self, name: str, arguments: Parts) -> object:
        """Run a script in the epoch that was entered."""
        epoch = self.epoch
        if not epoch:
            raise self.unusable()
        reply = await self.run_in(opened(epoch), name, arguments)
        if isinstance(reply, bytes) and not reply.startswith(b"K"):
            raise self._refused(reply, epoch)
        return reply

    async def run_in(self, epoch: str, name: str, arguments: Parts) -> object:
        """Run a script; once more where the server has forgotten it."""
        connection = self.link.connection
        if connection is None:
            raise self.unusable()
        reply = await self._evaluate(connection, name, epoch, *arguments)
        if isinstance(reply, hiredis.ReplyError) and str(reply).startswith("NOSCRIPT"):
            self._load(connection, SCRIPTS[name])
            reply = await self._evaluate(connection, name, epoch, *arguments)
        if isinstance(reply, hiredis.ReplyError):
            self._elsewhere(str(reply))
        return value(reply)

    def _load(self, connection: Connection, script: Script) -> None:
        asked = Asked(self._loop)
        asked.future.add_done_callback(
            asyncio.Future.exception
        )  # whoever needs the script hears that it fails
        connection.send((b"SCRIPT", b"LOAD", script.source), asked)

    # -- refusals ------------------------------------------------------------------------------------------

    @property
    def why(self) -> str:
        """Why the shard cannot be used; empty when it can."""
        return self.link.why or ("" if self.epoch else self.doubt)

    async def stand(self) -> tuple[str, int]:
        """See how the shard stands on the server."""
        if self.link.connection is None:
            raise self.unusable()
        return await self.attach(self.link.connection)

    def unusable(self) -> StoreUnavailable:
        return StoreUnavailable(self.why)
