"""The feed: every transfer once, in whatever way nodes are slow, wrong or away."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from metergate.errors import ProviderError
from metergate.provider_port import PAYMENT, PENDING, SUCCEEDED, Misconfigured, TryAgain, UnknownOutcome
from metergate.testing.provider_conformance import BROKEN, BUSY, UNANSWERED
from tests.adapters.web3.rpc import SILENT, Rpc
from tests.adapters.web3.world import World, everything, impatient, there


async def test_news_come_in_pages_and_go_on_where_they_were_left(world: World) -> None:
    provider = world.provider(blocks=4)
    await world.checkout(provider, "p1")
    sent = [await world.transfer(world.payer, world.usdc, 10**6) for _ in range(10)]
    events, cursor = await everything(provider)
    assert [*dict.fromkeys([each.object for each in events])] == [f"{world.chain}:{tx}:0" for tx in sent]
    assert all((each.kind, each.live) == (PAYMENT, False) for each in events)
    assert world.rpc.widest <= 4
    assert await everything(provider, cursor) == ([], cursor)
    sent.append(await world.transfer(world.payer, world.usdc, 10**6))
    events, _ = await everything(world.provider(blocks=4), cursor)
    assert sent[-1] in events[-1].object


async def test_what_is_read_again_has_the_same_id(world: World) -> None:
    """A little is read again at every page; the inbox keeps each event once."""
    provider = world.provider()
    await world.checkout(provider, "p1")
    await world.transfer(world.payer, world.usdc, 10**6)
    first, cursor = await everything(provider)
    await world.transfer(world.payer, world.usdc, 10**6)
    second, _ = await everything(provider, cursor)
    whole, _ = await everything(world.provider())
    assert [each.id for each in second] == [each.id for each in whole]
    assert second[0].id == first[0].id
    assert len({each.id for each in second}) == 2


async def test_it_begins_with_the_oldest_order_and_not_with_the_chain(world: World) -> None:
    """What came before anybody asked for anything is not ours; what came before the first look is."""
    provider = world.provider()
    await world.transfer(world.stranger, world.usdc, 10**6)
    await world.mine(30)
    told = await world.checkout(provider, "p1")
    await world.pay(told)
    await world.mine(30)
    [event] = (await everything(provider))[0]
    assert there(await provider.fetch_payment(event.object)).order == "p1"


async def test_a_node_that_gives_few_blocks_is_asked_for_few(world: World) -> None:
    """By a limit that it tells only with an error; nothing is left out, and it is remembered."""
    provider = world.provider()
    world.rpc.range = 5
    told = await world.checkout(provider, "p1")
    await world.mine(40)
    await world.pay(told)
    with pytest.raises(TryAgain, match="too wide"):
        await provider.find_payment("p1")
    events, _ = await everything(provider)
    assert {there(await provider.fetch_payment(each.object)).order for each in events} == {"p1"}
    assert there(await provider.find_payment("p1")).state == SUCCEEDED
    asked = world.rpc.asked["eth_getLogs"]
    await world.mine(4)
    await everything(provider)
    assert world.rpc.asked["eth_getLogs"] - asked < 60


async def test_a_node_that_needs_too_long_for_many_blocks_is_asked_for_fewer(world: World) -> None:
    """The next time, and not at once: it is busy enough."""
    provider = world.provider(blocks=64)
    await world.checkout(provider, "p1")
    await world.mine(70)
    world.rpc.patience = 20
    for _ in range(2):
        with pytest.raises(UnknownOutcome):
            await provider.events_after("")
    assert (await provider.events_after("")).more


async def test_a_node_that_lags_makes_nothing_go_back(world: World) -> None:
    """It answers from an old height for a while: the cursor stays, and nothing is skipped."""
    provider = world.provider()
    told = await world.checkout(provider, "p1")
    await world.mine(20)
    _, cursor = await everything(provider)
    height = await world.height()

    def lagging(method: str, params: list[object], true: object) -> object:
        if method == "eth_getBlockByNumber" and params[0] in ("latest", "finalized"):
            return old
        return true

    old = await world.evm.call("eth_getBlockByNumber", hex(height - 10), False)
    await world.pay(told)
    world.rpc.tamper = lagging
    assert await everything(provider, cursor) == ([], cursor)
    assert there(await provider.find_payment("p1")).state == PENDING
    world.rpc.tamper = None
    events, _ = await everything(provider, cursor)
    assert len(events) == 1


async def test_a_machine_that_lags_behind_its_height_hides_nothing(world: World) -> None:
    """One machine of a node tells the height, another one, which lacks the newest blocks, the logs."""
    provider = world.provider()
    told = await world.checkout(provider, "p1")
    _, cursor = await everything(provider)
    await world.pay(told)
    world.rpc.tamper = lambda method, _, true: [] if method == "eth_getLogs" else true
    hidden, cursor = await everything(provider, cursor)
    assert hidden == []
    world.rpc.tamper = None
    await world.mine()
    events, _ = await everything(provider, cursor)
    assert len(events) == 1


async def test_a_node_that_lies_about_its_height_skips_nothing(world: World) -> None:
    """It says that a million blocks are final; it cannot show the block that the cursor would stand on."""
    provider = world.provider()
    await world.checkout(provider, "p1")
    _, cursor = await everything(provider)
    height = await world.height()

    def lying(method: str, params: list[object], true: object) -> object:
        if (
            method == "eth_getBlockByNumber"
            and params[0] in ("latest", "finalized")
            and isinstance(true, dict)
        ):
            return {**true, "number": hex(height + 10**6)}
        return true

    world.rpc.tamper = lying
    with pytest.raises(TryAgain, match="has no block"):
        await everything(provider, cursor)
    world.rpc.tamper = None
    await world.transfer(world.payer, world.usdc, 10**6)
    assert len((await everything(provider, cursor))[0]) == 1


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"timestamp": hex(2**40)}, "of the future"),
        ({"number": "many"}, "where a number was due"),
        ({"hash": "0x12"}, "where a number was due"),
    ],
)
async def test_blocks_that_make_no_sense_are_not_believed(
    world: World, changed: dict[str, str], said: str
) -> None:
    provider = world.provider()
    world.rpc.tamper = lambda method, _, true: (
        {**true, **changed} if method == "eth_getBlockByNumber" else true
    )
    with pytest.raises(TryAgain, match=said):
        await world.checkout(provider, "p1")
    assert not (await provider.health()).ok


async def test_final_before_it_is_there_is_a_contradiction(world: World) -> None:
    provider = world.provider()
    await world.checkout(provider, "p1")
    genesis = await world.evm.call("eth_getBlockByNumber", "0x0", False)
    world.rpc.tamper = lambda method, params, true: genesis if params[:1] == ["latest"] else true
    with pytest.raises(TryAgain, match="final before it has them"):
        await everything(provider)


@pytest.mark.parametrize(
    ("fate", "raised"), [(BUSY, TryAgain), (BROKEN, TryAgain), (UNANSWERED, UnknownOutcome)]
)
async def test_a_node_that_is_away_changes_nothing(
    world: World, fate: str, raised: type[ProviderError]
) -> None:
    """Whatever is asked; and when it is back, all is found."""
    provider = world.provider()
    told = await world.checkout(provider, "p1")
    tx = await world.pay(told)
    world.rpc.always = fate
    with pytest.raises(raised):
        await provider.events_after("")
    with pytest.raises(raised):
        await provider.find_payment("p1")
    with pytest.raises(raised):
        await provider.claim_payment("p1", tx, "")
    with pytest.raises(raised):
        await world.checkout(world.provider(), "p2")
    assert not (await provider.health()).ok
    world.rpc.always = ""
    assert (await provider.health()).ok
    assert there(await provider.find_payment("p1")).state == SUCCEEDED


async def test_a_node_that_says_nothing_is_not_waited_for(world: World) -> None:
    """It took the question; what became of that nobody knows, and it is asked again."""
    told = await world.checkout(world.provider(), "p1")
    await world.pay(told)
    hasty = world.provider_of(*world.options()["chains"], http=impatient)
    world.rpc.always = SILENT
    for asked in (hasty.events_after(""), hasty.find_payment("p1")):
        with pytest.raises(UnknownOutcome, match="did not answer to the end"):
            await asked
    world.rpc.always = ""
    assert there(await world.provider().find_payment("p1")).state == SUCCEEDED


async def test_an_error_of_a_node_is_no_answer(world: World) -> None:
    """Neither "no such transaction" nor "no transfers": it is asked again."""
    provider = world.provider()
    told = await world.checkout(provider, "p1")
    await world.pay(told)
    world.rpc.range = 0
    for asked in (provider.events_after(""), provider.find_payment("p1")):
        with pytest.raises(TryAgain, match="answers eth_getLogs with an error"):
            await asked
    world.rpc.range = None
    for nonsense in ("text", "0x7"):
        world.rpc.tamper = lambda method, _, true, said=nonsense: said if method == "eth_getLogs" else true
        with pytest.raises(TryAgain, match="where a list was due"):
            await provider.events_after("")


async def test_a_node_that_lets_nobody_in_wants_an_operator(world: World) -> None:
    """And its address, in which the key is, is in no message."""
    provider = world.provider()
    world.rpc.always = "403"
    with pytest.raises(Misconfigured, match="does not let us in") as caught:
        await world.checkout(provider, "p1")
    assert "key" not in str(caught.value)


# -- several nodes, several chains -------------------------------------------------------------------------


@asynccontextmanager
async def another_node(world: World) -> AsyncIterator[Rpc]:
    node = Rpc(world.evm)
    await node.start()
    try:
        yield node
    finally:
        await node.close()


async def test_all_nodes_have_to_agree_before_anything_is_credited(world: World) -> None:
    """The first invents a payment; the second has never seen it, then says otherwise, then agrees."""
    async with another_node(world) as second:
        provider = world.provider(rpc=[world.rpc.url, second.url])
        told = await world.checkout(provider, "p1")
        tx = await world.pay(told, more=-1_000_000)
        units = f"0x{int(told.details['units']):064x}"

        def inventing(method: str, _: object, true: object) -> object:
            if method == "eth_getLogs" and isinstance(true, list):
                return [{**each, "data": units} for each in true]
            if method == "eth_getTransactionReceipt" and isinstance(true, dict):
                return {**true, "logs": [{**each, "data": units} for each in true["logs"]]}
            return true

        world.rpc.tamper = inventing
        second.tamper = lambda method, _, true: None if method == "eth_getTransactionReceipt" else true
        assert there(await provider.find_payment("p1")).state == PENDING
        second.tamper = None
        with pytest.raises(TryAgain, match=f"contradict each other about {tx}"):
            await provider.find_payment("p1")
        world.rpc.tamper = None
        assert there(await provider.find_payment("p1")).state == PENDING
        await world.pay(told)
        assert there(await provider.find_payment("p1")).state == SUCCEEDED


async def test_the_slowest_node_says_what_is_final(world: World) -> None:
    async with another_node(world) as second:
        provider = world.provider(rpc=[world.rpc.url, second.url])
        told = await world.checkout(provider, "p1")
        before = await world.evm.call("eth_getBlockByNumber", "latest", False)
        await world.pay(told)
        second.tamper = lambda _, params, true: before if params[:1] == ["finalized"] else true
        assert there(await provider.find_payment("p1")).state == PENDING
        assert (await everything(provider))[0] == []
        second.tamper = None
        assert there(await provider.find_payment("p1")).state == SUCCEEDED


async def test_a_chain_whose_node_is_away_stops_no_other(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """It keeps its place, and goes on from there."""
    async with another_node(world) as elsewhere:
        [one] = world.options()["chains"]
        elsewhere.tamper = lambda method, _, true: "0xa" if method == "eth_chainId" else true
        two = {**one, "id": 10, "rpc": [elsewhere.url]}
        provider = world.provider_of(one, two)
        await world.checkout(provider, "p1")
        told = await world.checkout(provider, "p2", token="USDC:10")
        assert told.details["chain"] == "10"
        elsewhere.always = BROKEN
        await world.transfer(world.payer, world.usdc, 10**6)
        with caplog.at_level(logging.WARNING, "metergate.web3"):
            events, cursor = await everything(provider)
        assert [each.object.partition(":")[0] for each in events] == [str(world.chain)]
        assert "The chain 10 cannot be read now" in caplog.text
        elsewhere.always = ""
        events, cursor = await everything(provider, cursor)
        assert [each.object.partition(":")[0] for each in events] == ["10"]
        assert (await everything(provider, cursor))[0] == []


async def test_a_chain_that_stands_still_is_told_once_until_it_goes_on(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    provider = world.provider()
    await everything(provider)
    world.clock.advance(seconds=1800)  # as long as final blocks may take
    await everything(provider)
    assert caplog.records == []
    world.clock.advance(seconds=1900)
    for _ in range(2):
        await everything(provider)
    [told] = caplog.messages
    assert told.startswith(f"The newest final block of the chain {world.chain} is 37")
    await world.evm.call("evm_increaseTime", 3700)
    await world.mine(5)
    await everything(provider)
    world.clock.advance(seconds=3700)
    await everything(provider)
    assert len(caplog.records) == 2


async def test_a_chain_that_stands_still_is_not_well(world: World) -> None:
    provider = world.provider()
    assert (await provider.health()).ok
    world.clock.advance(seconds=1000)
    health = await provider.health()
    assert not health.ok and "its newest block is 1000 s old" in health.detail
