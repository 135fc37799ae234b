"""Stories are told on an EVM in this process, and those of reorganisations and finality on anvil too."""

from collections.abc import AsyncIterator

import pytest

from tests.adapters.web3.evm import InProcess, anvil, anvil_program
from tests.adapters.web3.world import Town, World, a_world, found_town

_founded: list[tuple[InProcess, Town]] = []


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """The same chain for every story, which is put back as it was: to deploy takes longer than to tell."""
    if not _founded:
        evm = InProcess()
        _founded.append((evm, await found_town(evm)))
    evm, town = _founded[0]
    before = await evm.call("evm_snapshot")
    async with a_world(evm, town) as made:
        yield made
    await evm.call("evm_revert", before)


@pytest.fixture
async def on_anvil() -> AsyncIterator[World]:
    program = anvil_program()
    if program is None:
        pytest.skip("anvil is not installed (npm install @foundry-rs/anvil, or set ANVIL to where it is)")
    async with anvil(program) as evm, a_world(evm, await found_town(evm)) as made:
        yield made


@pytest.fixture(params=["world", "on_anvil"])
def any_world(request: pytest.FixtureRequest) -> World:
    found: World = request.getfixturevalue(request.param)
    return found
