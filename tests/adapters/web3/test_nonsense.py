"""Whatever a node answers: it is believed, or it is a node that cannot be believed; nothing else breaks."""

import contextlib
import json
import random
from collections.abc import Mapping

from metergate.errors import InvalidInput, ProviderError
from metergate.provider_port import Answer, Context
from metergate.testing.notes import NotesInMemory
from metergate_web3 import open_provider
from tests.adapters.web3.world import World
from tests.fuzz.mutation import mutated, tries

WORDS = (b"0x", b"null", b"[", b"{", b'"')
WEIRD: tuple[object, ...] = (
    None,
    True,
    -1,
    7.5,
    "",
    "0x",
    "0xzz",
    "0x" + "f" * 200,
    "ж",
    [],
    [[]],
    {},
    {"hash": 1},
    [None],
    "9" * 99,
)


def changed(told: object, chance: random.Random) -> object:
    """The same answer with one of its parts gone wrong."""
    if isinstance(told, dict) and told and chance.random() < 0.9:
        deep = [name for name in sorted(told) if isinstance(told[name], dict | list)]
        name = chance.choice(deep if deep and chance.random() < 0.7 else sorted(told))
        return {**told, name: changed(told[name], chance)}
    if isinstance(told, list) and told and chance.random() < 0.7:
        place = chance.randrange(len(told))
        return [changed(each, chance) if at == place else each for at, each in enumerate(told)]
    return chance.choice(WEIRD)


class Liar:
    """A node of which one answer goes wrong, in its bytes or in a part of what it says."""

    def __init__(self, world: World, chance: random.Random) -> None:
        self._world = world
        self._chance = chance
        self.spoiled = 0
        self.left = 0
        """How many answers are true before one is not."""

    async def __call__(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        timeout_s: float = 20,
    ) -> Answer:
        asked, chance = json.loads(body), self._chance
        result = await self._world.evm.call(asked["method"], *asked["params"])
        answer: object = {"jsonrpc": "2.0", "id": asked["id"], "result": result}
        self.left -= 1
        if self.left:
            return Answer(200, {}, json.dumps(answer).encode())
        self.spoiled += 1
        if chance.random() < 0.3:
            return Answer(200, {}, mutated([json.dumps(answer).encode()], WORDS, chance))
        return Answer(200, {}, json.dumps(changed(answer, chance)).encode())


async def test_a_node_that_says_anything_breaks_nothing(world: World) -> None:
    told = await world.checkout(world.provider(), "p1")
    tx = await world.pay(told)
    options, spoiled = world.options(), 0
    for chance in tries("a node of a chain"):
        notes = NotesInMemory()
        notes._texts.update(world.notes._texts)
        node = Liar(world, chance)
        provider = open_provider(Context("web3", world.clock, node, notes, {}, options))
        for asking in (
            provider.health(),
            provider.events_after(""),
            provider.find_payment("p1"),
            provider.claim_payment("p1", tx, ""),
            provider.fetch_payment(f"{world.chain}:{tx}:0"),
        ):
            node.left = chance.randint(1, 14)
            with contextlib.suppress(ProviderError, InvalidInput):
                await asking
        spoiled += node.spoiled
    assert spoiled > 20
