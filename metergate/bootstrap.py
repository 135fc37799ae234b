"""Where everything is put together: the engine of a policy, and the front doors `MeterGate` and `Gate`."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from metergate import foundation as ground
from metergate.asgi.middleware import Metered
from metergate.asgi.types import ASGIApp, Receive, Scope, Send
from metergate.config import PolicySource, load
from metergate.config import settings as environment
from metergate.config.settings import Settings
from metergate.core.policy import Policy
from metergate.foundation import Foundation
from metergate.gate.gate import RequestGate
from metergate.ports import Clock


class Engine:
    """A policy at work: started once, stopped once, reloaded without a call noticing."""

    def __init__(
        self, source: PolicySource, settings: Settings | None = None, clock: Clock = ground.now_us
    ) -> None:
        self.settings = settings or environment.read(os.environ)
        self._source = source
        self._clock = clock
        self.policy = self._load()
        self._foundation: Foundation | None = None
        self._gate: RequestGate | None = None
        self._starting = asyncio.Lock()

    def _load(self) -> Policy:
        policy = load(self._source or self.settings.policy)
        return replace(policy, store=self.settings.store or policy.store)

    @property
    def running(self) -> bool:
        return self._gate is not None

    @property
    def gate(self) -> RequestGate:
        assert self._gate is not None, "the engine has not been started"
        return self._gate

    @property
    def foundation(self) -> Foundation:
        assert self._foundation is not None, "the engine has not been started"
        return self._foundation

    async def start(self) -> None:
        async with self._starting:
            if self._gate is None:
                self._foundation = await ground.join(self.policy, self.settings, self._clock)
                self._use(self.policy)

    async def stop(self) -> None:
        async with self._starting:
            if self._foundation is None:
                return
            await self.gate.endings.done()
            self._foundation.gates.remove(self.gate)
            self._gate = None
            foundation, self._foundation = self._foundation, None
            await ground.leave(foundation)

    def reload(self) -> Policy:
        """Read the policy anew. A file with a mistake raises, and the running policy stays."""
        policy = self._load()
        self.policy = policy
        if self._gate is not None:
            self._use(policy)
        return policy

    def _use(self, policy: Policy) -> None:
        foundation = self.foundation
        gate = RequestGate(policy, foundation.store, foundation.clock, foundation.peppers)
        if self._gate is not None:
            gate.watch.take_over(self._gate.watch)
        foundation.gates.append(gate)
        self._gate = gate

    async def billing(self, scope: Scope, receive: Receive, send: Send) -> None:
        raise NotImplementedError


class MeterGate(Metered):
    """ASGI middleware that makes every call paid for.

    `policy` is a path, a dictionary or a `Policy`; left out, METERGATE_POLICY names the file.
    """

    def __init__(self, app: ASGIApp, policy: PolicySource = "", *, settings: Settings | None = None) -> None:
        self.engine = Engine(policy, settings)
        super().__init__(app, self.engine)


class Gate:
    """The same engine without HTTP: check, record, subscribe, and ask for the balance."""

    @classmethod
    @asynccontextmanager
    async def open(
        cls, policy: PolicySource = "", *, settings: Settings | None = None, clock: Clock = ground.now_us
    ) -> AsyncIterator["Gate"]:
        engine = Engine(policy, settings, clock)
        await engine.start()
        try:
            yield cls(engine)
        finally:
            await engine.stop()
