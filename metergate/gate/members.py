"""Callers, as the gate remembers them for a moment.

A key is parsed, digested and looked up once; for at most a second its bytes lead straight to what was found.
That is safe because the hold compares the account's generation inside the store: a revoked key or a changed
plan is noticed by the very next call, and the facts are read again.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence

from metergate.core import decide, keys
from metergate.core.addresses import one_caller, within
from metergate.core.asked import NOTHING, Asked
from metergate.core.facts import AccountFacts, Caller, KeyFacts
from metergate.core.policy import Policy, Route
from metergate.core.refusal import Refusal
from metergate.errors import StoreUnavailable
from metergate.gate.guesses import Guesses
from metergate.gate.prepared import Prepared
from metergate.gate.sources import Sources
from metergate.ports import Answers, AskAccount, AskKey, CounterStore, Told

FRESH_US = 10**6
KEPT_US = 15 * 60 * 10**6
"""How long a proven key opens what costs nothing while the store cannot be asked."""
RETRY_US = 10**6
UNAVAILABLE = Refusal("store_unavailable", retry_after_us=RETRY_US)
REMEMBERED = 10_000
ASKED = 32
"""The different requests of one caller that are remembered, where they say themselves what they cost."""
WRONG_AT_ONCE, WRONG_EVERY_S = 30, 2.0
"""So many unknown keys of an address are looked up, and then one in so many seconds."""
_NO_DIGEST = "0" * 64
_NO_PEPPER = b"\0" * 32
"""For keys that nobody knows or whose pepper is gone: they take the same time and match nothing."""


class Member:
    """A caller, and what was prepared for it on each route."""

    __slots__ = ("asked", "caller", "fresh_until_us", "prepared", "used")

    def __init__(self, caller: Caller, fresh_until_us: int) -> None:
        self.caller = caller
        self.fresh_until_us = fresh_until_us
        self.prepared: dict[int, Prepared] = {}
        """By the index of the route, for requests that say nothing of their price themselves."""
        self.asked: dict[tuple[int, Asked], Prepared] = {}
        """The same for those that do."""
        self.used: dict[str, int] = {}
        """What the store last said of the quantities of the period."""

    def known(self, route: Route, asked: Asked) -> Prepared | None:
        if asked is NOTHING:
            return self.prepared.get(route.index)
        return self.asked.get((route.index, asked))

    def remember(self, prepared: Prepared) -> None:
        if prepared.asked is NOTHING:
            self.prepared[prepared.route.index] = prepared
            return
        if len(self.asked) >= ASKED:
            self.asked.clear()
        self.asked[prepared.route.index, prepared.asked] = prepared

    def forget(self, route: Route, asked: Asked) -> None:
        self.prepared.pop(route.index, None)
        self.asked.pop((route.index, asked), None)

    def forget_all(self) -> None:
        self.prepared.clear()
        self.asked.clear()


NOBODY = Member(Caller(AccountFacts(""), None, 0), 0)
"""Who calls where no key is wanted, or where shadow mode lets a request through without one."""


class Members:
    def __init__(self, policy: Policy, store: CounterStore, peppers: Mapping[int, bytes]) -> None:
        self._policy = policy
        self._store = store
        self._peppers = peppers
        self.sources = Sources(policy.serve.trusted_proxies)
        self.wrong_keys = Guesses(at_once=WRONG_AT_ONCE, every_s=WRONG_EVERY_S)
        self.lanes: dict[bytes, dict[bytes, Member] | None] = {}
        """Header name -> value -> member, for values that led to one a moment ago; None for names that do
        not matter. A shell fills it."""
        self._newest = max(peppers, default=0)
        self.aged: Callable[[str, str, int], object] = lambda *_: None
        """Told of a key that is kept under an older pepper: its kid, and its digest under the newest."""
        self._by_key: dict[str, Member] = {}
        self._by_account: dict[str, Member] = {}

    def find_key(
        self, shown: Sequence[str], now_us: int, source: str = ""
    ) -> Member | Refusal | Awaitable[Member | Refusal]:
        """Prove a key and read who it belongs to. Where it came from counts when it is a wrong one."""
        key = decide.presented(shown, self._policy.environment)
        if isinstance(key, Refusal):
            return key
        caller = one_caller(source)
        wait_s = self.wrong_keys.wait_s(caller)
        if wait_s and key.text not in self._by_key and not self.wrong_keys.knows(caller):
            return Refusal("too_many_wrong_keys", retry_after_us=wait_s * 10**6)
        try:
            told = self._store.state((AskKey(key.kid),))
        except StoreUnavailable:
            return self._remembered(key, now_us, source)
        if isinstance(told, Sequence):
            return self._proven(key, told[0], now_us, source)
        return self._proven_later(key, told, now_us, source)

    async def _proven_later(
        self, key: keys.Key, told: Awaitable[Sequence[Told]], now_us: int, source: str
    ) -> Member | Refusal:
        try:
            answer = (await told)[0]
        except StoreUnavailable:
            return self._remembered(key, now_us, source)
        return self._proven(key, answer, now_us, source)

    def _remembered(self, key: keys.Key, now_us: int, source: str) -> Member | Refusal:
        """A key that was proven a while ago. What has to be held is refused by the store itself."""
        member = self._by_key.get(key.text)
        if member is None or member.fresh_until_us + KEPT_US < now_us:
            return UNAVAILABLE
        facts = member.caller.key
        state = decide.key_state(facts, now_us) or _elsewhere(facts, source) if facts else None
        return member if state is None else state

    def _proven(self, key: keys.Key, told: Told, now_us: int, source: str) -> Member | Refusal:
        facts = told.key if isinstance(told, Caller) else None
        pepper = self._peppers.get(facts.pepper if facts else 1, _NO_PEPPER)
        genuine = keys.same(keys.digest(key.text, pepper), facts.digest if facts else _NO_DIGEST)
        if not genuine or facts is None or not isinstance(told, Caller):
            if source:
                self.wrong_keys.wrong(one_caller(source))
            return Refusal("key_invalid")
        if source:
            self.wrong_keys.right(one_caller(source))
        state = decide.key_state(facts, now_us) or _elsewhere(facts, source)
        if state is not None:
            return state
        if facts.pepper < self._newest:
            self.aged(facts.kid, keys.digest(key.text, self._peppers[self._newest]), self._newest)
        until = now_us + FRESH_US
        if facts.expires_at_us:
            until = min(until, facts.expires_at_us)
        return self._remember(self._by_key, key.text, told, until)

    def of_account(self, account: str, now_us: int) -> Member | Awaitable[Member | None] | None:
        """The account itself, for usage that is recorded without a key."""
        member = self._by_account.get(account)
        if member is not None and member.fresh_until_us > now_us:
            return member
        told = self._store.state((AskAccount(account),))
        if isinstance(told, Sequence):
            return self._known(account, told[0], now_us)
        return self._known_later(account, told, now_us)

    async def _known_later(self, account: str, told: Awaitable[Sequence[Told]], now_us: int) -> Member | None:
        return self._known(account, (await told)[0], now_us)

    def _known(self, account: str, told: Told, now_us: int) -> Member | None:
        if not isinstance(told, Caller):
            return None
        return self._remember(self._by_account, account, told, now_us + FRESH_US)

    async def reporting(self, account: str, kid: str, now_us: int) -> Member | None:
        """Who reports usage: an account, or one of its keys."""
        if not kid:
            looked = self.of_account(account, now_us)
            return await looked if isinstance(looked, Awaitable) else looked
        answers = self._store.state((AskKey(kid),))
        told = (answers if isinstance(answers, Sequence) else await answers)[0]
        return Member(told, now_us) if isinstance(told, Caller) and told.account.id == account else None

    def reread(self, key: KeyFacts | None, account: str) -> Answers[Told]:
        """Read again what was remembered of a caller."""
        return self._store.state((AskKey(key.kid) if key else AskAccount(account),))

    def _remember(self, members: dict[str, Member], name: str, caller: Caller, until_us: int) -> Member:
        known = members.get(name)
        if known is not None and known.caller == caller:
            known.fresh_until_us = until_us
            return known
        if len(members) >= REMEMBERED:
            members.clear()
            for lane in filter(None, self.lanes.values()):
                lane.clear()
        members[name] = member = Member(caller, until_us)
        return member


def _elsewhere(key: KeyFacts, source: str) -> Refusal | None:
    """A key that has its places is refused where it is shown elsewhere, or nobody knows where."""
    known = not key.networks or within(source, key.networks)
    return None if known else Refusal("key_elsewhere", scope="key")
