"""The engine: a policy at work on its foundation, with everything that stands on it."""

import asyncio
import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

from metergate import joining, meters
from metergate.admin import Hooks, Office, OwnerSocket, answering
from metergate.admin.owner import RELOAD
from metergate.api import authz_app, billing_app, relay
from metergate.asgi import answer_headers, forward_auth
from metergate.asgi.forward_auth import ForwardAuth
from metergate.asgi.request_headers import HeaderReader
from metergate.asgi.types import ASGIApp, Receive, Scope, Send
from metergate.billing.watching import Numbers, together
from metergate.config import PolicySource, load, load_adapter
from metergate.config import settings as environment
from metergate.config.plugins import adapter_of_store
from metergate.config.settings import Settings
from metergate.core.facts import Caller
from metergate.core.money import as_json
from metergate.core.periods import rfc3339
from metergate.core.policy import Policy
from metergate.core.report import Receipt, Report
from metergate.errors import ConfigurationError, InvalidInput, StoreUnavailable
from metergate.foundation import Foundation, now_us
from metergate.gate import explaining, tracking, watching
from metergate.gate.gate import RequestGate
from metergate.gate.watching import Decision, Watch
from metergate.money_in import MoneyIn, choices_of
from metergate.ports import AskAccount, AskBudget, Clock, answered
from metergate.worker.reviving import Reviving

log = logging.getLogger("metergate")

TOLD_S = 5.0
"""How long the end of an engine waits for a store that does not listen."""
FRESH_PAUSE_S = 0.02
FRESH_TRIES = 50
"""How often it is looked whether another process has posted what it was about to."""

_listening: WeakKeyDictionary[asyncio.AbstractEventLoop, set[Callable[[], None]]] = WeakKeyDictionary()
"""Who reads its policy anew when the process gets a SIGHUP: every engine of the loop that hears it."""


class Engine:
    """A policy at work: started once, stopped once, reloaded without a call noticing."""

    def __init__(
        self,
        source: PolicySource,
        settings: Settings | None = None,
        clock: Clock = now_us,
        lacking: Callable[[Policy], str | None] = lambda _: None,
    ) -> None:
        self.settings = settings or environment.read(os.environ)
        self._source = source
        self._clock = clock
        self._lacking = lacking
        """What the policy lacks for what it is to be used for, as one sentence."""
        self._mistake: ConfigurationError | None = None
        self.policy = self._first()
        self.watch = Watch(clock)
        self._foundation: Foundation | None = None
        self._money: MoneyIn | None = None
        self.serving: RequestGate | None = None
        """The gate of the running policy; None before the start and after the stop."""
        self._gates: list[RequestGate] = []
        self._socket: OwnerSocket | None = None
        self._starting = asyncio.Lock()
        self._forward_auth = ForwardAuth(self)

    def _first(self) -> Policy:
        """The policy; or none, and a mistake for the start to tell: frameworks build middleware late."""
        try:
            return self.loaded()
        except ConfigurationError as error:
            self._mistake = error
            return Policy("", {}, ())

    def loaded(self) -> Policy:
        """The policy as its source says it now; running or not changes nothing."""
        if not self._source and not self.settings.policy:
            raise ConfigurationError("Name a policy file: MeterGate(app, policy=…) or METERGATE_POLICY.")
        policy = load(self._source or self.settings.policy)
        problem = self._lacking(policy)
        if problem:
            raise ConfigurationError(problem)
        providers = choices_of(policy, self.settings)
        return replace(policy, store=self.settings.store or policy.store, providers=providers)

    # -- life ----------------------------------------------------------------------------------------------

    @property
    def gate(self) -> RequestGate:
        assert self.serving is not None, "the engine has not been started"
        return self.serving

    @property
    def shares(self) -> bool:
        """Whether other processes use the store too."""
        return bool(adapter_of_store(self.policy.store))

    @property
    def foundation(self) -> Foundation:
        assert self._foundation is not None, "the engine has not been started"
        return self._foundation

    @property
    def money(self) -> MoneyIn:
        """Payments, and who takes them."""
        assert self._money is not None, "the engine has not been started"
        return self._money

    async def start(self) -> None:
        async with self._starting:
            if self.serving is not None and self.serving.loop is asyncio.get_running_loop():
                return
            self._leave_dead_loop()
            try:
                await self._start()
            except BaseException:
                await self._stop()  # half an engine would serve half of the promises
                raise

    async def _start(self) -> None:
        if self._mistake is not None:
            self.policy, self._mistake = self.loaded(), None
        _counters(self.policy)
        self._foundation = await joining.join(self.policy, self.settings, self._clock)
        self._money = MoneyIn(self._foundation, self.settings, self.policy)
        self.office = self._make_office(self._foundation)
        self._money.begin(self.office)
        self._authz = self._make_authz(self._foundation)
        self.use(self.policy)
        self._foundation.engines.append(self)
        if self._foundation.engines[0] is self:
            await self._answer()
        self._listen_for_hangup()

    def _leave_dead_loop(self) -> None:
        """Some test clients give each request a loop of its own; what a closed one left is in the journal."""
        if self._foundation is None or self.serving is None:
            return
        if not self.serving.loop.is_closed():
            raise ConfigurationError(
                "This MeterGate already serves another event loop; give each loop its own."
            )
        _listening.pop(self.serving.loop, None)
        if self._socket is not None:
            self._socket.abandon()
        joining.abandon(self._foundation)
        self._foundation, self.serving, self._socket = None, None, None
        self._gates.clear()

    async def stop(self) -> None:
        async with self._starting:
            await self._stop()

    async def _stop(self) -> None:
        if self._foundation is None:
            return
        self._ignore_hangup()
        for gate in self._gates:
            await self._told(gate)
            self._foundation.dismiss(gate)
        self._gates.clear()
        self.serving = None
        if self._money is not None:
            await self._money.stop()
            self._money = None
        foundation, self._foundation = self._foundation, None
        if self in foundation.engines:
            foundation.engines.remove(self)
        if self._socket is not None:
            await self._socket.stop()
            self._socket = None
            if foundation.engines:
                await foundation.engines[0].answer_for_the_folder()
        await joining.leave(foundation)

    def reload(self) -> Policy:
        """Read the policy anew. A file with a mistake raises, and the running policy stays."""
        policy = self.loaded()
        _counters(policy)
        self.use(policy)
        return policy

    def use(self, policy: Policy) -> None:
        """Serve with a policy from now on; calls that were admitted under another end under it."""
        at_work = self._foundation
        if at_work is not None:
            counters = _counters(policy)
            gate = RequestGate(policy, at_work.store, at_work.clock, at_work.peppers, self.watch, counters)
            gate.members.aged = self.office.keys.rehash
            for idle in [each for each in self._gates if not each.live]:
                self._gates.remove(idle)
                at_work.dismiss(idle)
            if self._money is not None:
                self._money.use(policy)
            self._gates.append(gate)
            at_work.gates.append(gate)
            self.serving = gate
            self._billing = self._make_billing()
        self.policy = policy

    def _listen_for_hangup(self) -> None:
        """SIGHUP reads the policy anew, unless the app has its own use for the signal."""
        if threading.current_thread() is not threading.main_thread():
            return
        loop = asyncio.get_running_loop()
        listening = _listening.setdefault(loop, set())
        if listening or signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
            listening.add(self._hung_up)
            loop.add_signal_handler(signal.SIGHUP, _tell, listening)

    def _ignore_hangup(self) -> None:
        loop = asyncio.get_running_loop()
        listening = _listening.get(loop, set())
        if self._hung_up in listening:
            listening.remove(self._hung_up)
            if not listening:
                loop.remove_signal_handler(signal.SIGHUP)

    def _hung_up(self) -> None:
        try:
            self.reload()
        except ConfigurationError as error:
            log.error("The policy was not read anew; the running one stays. %s", error)

    # -- what stands on it ---------------------------------------------------------------------------------

    async def billing(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The customer's endpoints."""
        await self._billing(scope, receive, send)

    def _make_billing(self) -> ASGIApp:
        reader = HeaderReader(self.gate.policy.key_headers)
        return billing_app(
            self.office.acting_as("customer"),
            lambda: self.gate,
            lambda headers, _: reader.read(headers).keys,
            self.gate.policy.billing,
            self.money.receive,
            compat=self.gate.policy.compat,
        )

    async def decide(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The decision API, for fronts that serve the calls themselves. Whoever asks was let in already."""
        forward = forward_auth.PATH in scope["path"]
        await (self._forward_auth if forward else self._authz)(scope, receive, send)

    def _make_authz(self, at_work: Foundation) -> ASGIApp:
        return authz_app(
            lambda: self.gate,
            self.office,
            Reviving(at_work.store, at_work.ledger, at_work.clock).settle_again,
            lambda call: answer_headers.headers(call, call.gate.policy.show),
        )

    def _make_office(self, at_work: Foundation) -> Office:
        hooks = Hooks(
            record=self._record,
            reload=self._reload,
            elsewhere=self._reload_elsewhere,
            refresh=self._refresh,
            held=at_work.held,
            granted=at_work.worker.expiry.look_again,
            worker=lambda: {"ok": not at_work.worker.outage, "detail": at_work.worker.outage},
            describe=lambda: {"refused": dict(self.watch.refused), "shadowed": dict(self.watch.shadowed)},
            measure=self._measure,
            decide=lambda asked: relay.answer(self.decide, asked),
            explain=self.explain,
            till=self.money.till,
        )
        return Office(
            at_work.ledger,
            at_work.store,
            lambda: self.policy,
            at_work.clock,
            at_work.peppers,
            hooks=hooks,
            shared=at_work.shared,
        )

    def numbers(self) -> Numbers:
        """What is counted of payments under this policy."""
        return self._money.numbers() if self._money is not None else {}

    def _measure(self) -> Mapping[str, Any]:
        """The numbers of all that runs on the same foundation in this process."""
        engines = self.foundation.engines
        paying = together([each.numbers() for each in engines])
        calls = watching.numbers([each.watch for each in engines])
        return {**calls, **self.foundation.worker.numbers(), **paying}

    async def answer_for_the_folder(self) -> None:
        """Whoever answered has left; an engine that is leaving too does not begin."""
        async with self._starting:
            if self._foundation is not None and self._socket is None:
                await self._answer()

    async def _answer(self) -> None:
        """Others who want something of the data folder ask this engine now."""
        folder, member = self.foundation.folder, self.foundation.shared is not None
        self._socket = OwnerSocket(folder.path, self.office, self._subscribe, member=member)
        if not member:
            await self._socket.start()
            return
        try:
            folder.create()
            await self._socket.start()
        except ConfigurationError as error:
            log.warning("Commands on this machine cannot ask this process: %s", error)

    def _subscribe(self, listener: Callable[[dict[str, Any]], None]) -> Callable[[], None]:
        def watcher(decision: Decision) -> None:
            listener(_shown(decision, self.policy.currency))

        self.watch.watchers.append(watcher)
        return lambda: self.watch.watchers.remove(watcher)

    async def _reload(self) -> None:
        """Every policy over this folder is read before the first is used."""
        engines = self.foundation.engines
        for engine, policy in [(engine, engine.loaded()) for engine in engines]:
            engine.use(policy)

    async def _reload_elsewhere(self) -> None:
        """The other processes of this machine read their policies; those of another are told there."""
        for office in await answering(self.foundation.folder.path):
            if self._socket is None or office.name != self._socket.path.name:
                await office.do(RELOAD, {})

    async def _refresh(self) -> None:
        """Bring into the ledger what has ended up to now, in other processes too."""
        for gate in self._gates:
            await self._told(gate)
        now_us, flusher = self._clock(), self.foundation.worker.flusher
        with contextlib.suppress(StoreUnavailable):  # a ledger that is away says so when it is read
            for _ in range(FRESH_TRIES):
                if await flusher.posted_until(now_us) == now_us:
                    return
                await asyncio.sleep(FRESH_PAUSE_S)

    async def _told(self, gate: RequestGate) -> None:
        """The store has heard of the calls that have ended, unless it does not listen."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(gate.endings.done(), TOLD_S)

    async def _record(self, asked: Report) -> Receipt:
        return await tracking.record(self.gate, asked)

    async def explain(self, method: str, path: str, account: str | None, body: str) -> list[dict[str, Any]]:
        """Why a request would be admitted or refused, rule by rule."""
        gate, now_us = self.gate, self._clock()
        store = self.foundation.store
        told = (await answered(store.state((AskAccount(account),))))[0] if account else None
        caller = told if isinstance(told, Caller) else None
        if account and caller is None:
            raise InvalidInput(f"There is no account {account!r}.", reason="unknown_account")
        found = gate.routes.find(method, path.encode())
        names: list[str] = []
        if found.route is not None and found.route.meter and caller is not None:
            names = explaining.names(gate.policy, found.route, caller, now_us, found.path, body.encode())
        counted = await answered(store.state([AskBudget(name) for name in names]))
        values = {name: value for name, value in zip(names, counted, strict=True) if isinstance(value, int)}
        said = body.encode()
        return explaining.explain(gate.policy, method, path.encode(), caller, values, now_us, said)


def _tell(listening: set[Callable[[], None]]) -> None:
    for each in tuple(listening):
        each()


def _counters(policy: Policy) -> Mapping[str, meters.Factory]:
    """The counters of third parties that the policy's meters name."""
    others: dict[str, meters.Factory] = {}
    for meter in policy.meters.values():
        if meter.count not in meters.COUNTS:
            others[meter.count] = load_adapter(meter.count, policy.enabled).counter
        problem = meters.problem(meter, others)
        if problem:
            raise ConfigurationError(problem)
    return others


def _shown(decision: Decision, currency: str) -> dict[str, Any]:
    told = decision._asdict()
    return {**told, "at": rfc3339(told.pop("at_us")), "cost": as_json(decision.cost, currency)}
