"""The operator's office: everything that the admin API, the command line and the socket can ask for."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Protocol, Self

from metergate.admin import verbs
from metergate.admin.accounts import Accounts
from metergate.admin.books import Books
from metergate.admin.credits import Credits
from metergate.admin.decisions import Decisions
from metergate.admin.desk import Desk, Hooks, Json
from metergate.admin.endpoints import Endpoints
from metergate.admin.guards import Alerts, TopUps
from metergate.admin.keys import Keys
from metergate.admin.payments import Payments
from metergate.admin.plans import Plans
from metergate.admin.pushes import Pushes
from metergate.admin.usage import Usage
from metergate.admin.webhooks import Webhooks
from metergate.core.policy import Policy
from metergate.ledger.telling import Teller
from metergate.ledger.thread import LedgerThread
from metergate.ports import Clock, CounterStore, SharedStore


class Doing(Protocol):
    """An office, here or in the process that owns the data folder."""

    async def do(self, verb: str, params: Mapping[str, object]) -> Json: ...


class Office:
    """Subjects with methods for callers in Python; `do` for those who send words."""

    def __init__(
        self,
        ledger: LedgerThread,
        store: CounterStore,
        policy: Callable[[], Policy],
        clock: Clock,
        peppers: Mapping[int, bytes],
        actor: str = "operator",
        hooks: Hooks | None = None,
        shared: SharedStore | None = None,
    ) -> None:
        """`shared` is the same store, where other processes use it too."""
        teller = Teller(ledger, store, clock, shared)
        self._sit_down(Desk(teller, store, policy, clock, peppers, hooks or Hooks(), actor))

    def _sit_down(self, desk: Desk) -> None:
        self.desk = desk
        self.accounts = Accounts(desk)
        self.keys = Keys(desk)
        self.credits = Credits(desk)
        self.payments = Payments(desk)
        self.webhooks = Webhooks(desk)
        self.endpoints = Endpoints(desk)
        self.pushes = Pushes(desk)
        self.top_ups = TopUps(desk)
        self.alerts = Alerts(desk)
        self.plans = Plans(desk)
        self.usage = Usage(desk)
        self.books = Books(desk)
        self.decisions = Decisions(desk)

    def acting_as(self, actor: str) -> Self:
        """The same office; its audit rows name another actor."""
        other = object.__new__(type(self))
        other._sit_down(replace(self.desk, actor=actor))
        return other

    async def do(self, verb: str, params: Mapping[str, object]) -> Json:
        """Do what a verb of `verbs.VERBS` says."""
        return await verbs.bound(self, verb, params)()
