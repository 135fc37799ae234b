"""API keys: made, rotated with a grace, revoked at once. The text of a key is told once and kept nowhere."""

import asyncio
import secrets
from collections.abc import Sequence
from contextlib import suppress

from metergate.admin import inputs, shapes
from metergate.admin.credits import found
from metergate.admin.desk import Desk, Json, page
from metergate.admin.errors import NotFound
from metergate.core import keys as minting
from metergate.core.facts import KeyFacts
from metergate.core.keys import Environment
from metergate.core.money import shown
from metergate.errors import InvalidInput, MetergateError
from metergate.ledger import Conflict, accounts, keys
from metergate.ledger.database import Tx
from metergate.ledger.keys import Key
from metergate.ports import Change, PutAccount, PutKey

DAY_US = 86_400 * 10**6
GRACE = "24h"
GRACE_MAX_US = 7 * DAY_US
DEPLOYED_US = 3600 * 10**6
"""So long after its start a process takes it that the others have the newest pepper, too."""
REHASHED_AT_ONCE = 16


class Keys:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._since_us = desk.clock()
        self._aged: dict[str, asyncio.Task[None]] = {}

    async def create(
        self,
        account: object,
        expires_at: object = None,
        scopes: object = (),
        environment: object = None,
        cap: object = None,
        cap_every: object = "month",
        networks: object = (),
    ) -> Json:
        """Make a key. `cap` is the most that it may spend in every period; `networks`, where it may be."""
        owner = inputs.account_id(account)
        policy = self._desk.policy()
        kind = policy.environment if environment is None else _environment(environment)
        now_us = self._desk.clock()
        wanted = KeyFacts(
            kid="",
            account=owner,
            digest="",
            environment=kind,
            scopes=inputs.scopes(scopes),
            expires_at_us=0 if expires_at is None else inputs.later(expires_at, now_us, "a key"),
            cap_nanos=0 if cap is None else inputs.amount(cap, "a cap"),
            cap_every=inputs.every(cap_every),
            networks=inputs.networks(networks),
        )
        text, facts = self._mint(wanted)

        def work(tx: Tx) -> tuple[Key, list[Change]]:
            known = found(tx, owner)
            key = keys.add(tx, facts, text[-4:], now_us)
            self._desk.note(tx, "key.create", facts.kid, {"account": owner})
            return key, [PutAccount(known.facts), PutKey(key.facts)]

        return self._shown(await self._desk.change(work), text)

    def _mint(self, wanted: KeyFacts) -> tuple[str, KeyFacts]:
        """A new key of the newest pepper, for the account, the scopes and the limits that are wanted."""
        pepper = max(self._desk.peppers)
        text = minting.mint("test" if wanted.environment == "test" else "live", secrets.token_bytes)
        made = minting.parse(text)
        assert made is not None
        digest = minting.digest(text, self._desk.peppers[pepper])
        return text, wanted._replace(kid=made.kid, digest=digest, pepper=pepper, revoked=False)

    def _shown(self, key: Key, text: str | None = None) -> Json:
        return shapes.key(key, self._desk.clock(), self._desk.policy().currency, text)

    async def page(self, account: object = None, limit: object = inputs.LIMIT, after: object = "") -> Json:
        """Keys in the order of their kids."""
        owner = None if account is None else inputs.account_id(account)
        most, last = inputs.limit(limit), inputs.after(after)

        def work(tx: Tx) -> Sequence[Key]:
            if owner is not None:
                found(tx, owner)
            return keys.page(tx, owner, most + 1, last)

        rows = await self._desk.read(work)
        return page(map(self._shown, rows), most, [row.facts.kid for row in rows])

    async def show(self, kid: object) -> Json:
        id = inputs.kid(kid)
        return self._shown(await self._desk.read(lambda tx: _key(tx, id)))

    async def rotate(self, kid: object, grace: object = GRACE) -> Json:
        """Make a key in the place of another, which works for a grace of at most 7d; 0 ends it at once."""
        id = inputs.kid(kid)
        grace_us = inputs.duration(grace)
        if grace_us > GRACE_MAX_US:
            raise InvalidInput(f"Give a grace of at most 7d, not {shown(grace)}.")
        now_us = self._desk.clock()

        def work(tx: Tx) -> tuple[tuple[Key, Key, str], list[Change]]:
            old = _usable(_key(tx, id), now_us)
            text, facts = self._mint(old.facts)
            new = keys.add(tx, facts, text[-4:], now_us)
            old = keys.expire(tx, id, now_us + grace_us, facts.kid)
            if not grace_us:
                old = keys.revoke(tx, id, now_us)
            details = {"account": facts.account, "new": facts.kid, "grace_s": grace_us // 10**6}
            self._desk.note(tx, "key.rotate", id, details)
            owner = accounts.known(tx, facts.account)
            return (new, old, text), [PutAccount(owner.facts), PutKey(new.facts), PutKey(old.facts)]

        new, old, text = await self._desk.change(work)
        return {**self._shown(new, text), "replaces": self._shown(old)}

    def rehash(self, kid: str, digest: str, pepper: int) -> None:
        """Keep a key that was just shown under the newest pepper.

        Where that fails it is done when the key is shown again.
        """
        late = self._desk.clock() - self._since_us >= DEPLOYED_US
        if late and kid not in self._aged and len(self._aged) < REHASHED_AT_ONCE:
            self._aged[kid] = task = asyncio.ensure_future(self._rehash(kid, digest, pepper))
            task.add_done_callback(lambda _: self._aged.pop(kid))

    async def _rehash(self, kid: str, digest: str, pepper: int) -> None:
        def work(tx: Tx) -> tuple[None, list[Change]]:
            return None, [PutKey(keys.rehash(tx, kid, digest, pepper).facts)]

        with suppress(MetergateError):
            await self._desk.change(work)

    async def revoke(self, kid: object) -> Json:
        """End a key. When this answers, the next call with the key is refused."""
        id = inputs.kid(kid)
        now_us = self._desk.clock()

        def work(tx: Tx) -> tuple[Key, list[Change]]:
            before = _key(tx, id)
            key = keys.revoke(tx, id, now_us)
            if not before.facts.revoked:
                self._desk.note(tx, "key.revoke", id, {"account": key.facts.account})
            return key, [PutKey(key.facts)]

        return self._shown(await self._desk.change(work))


def _key(tx: Tx, kid: str) -> Key:
    key = keys.get(tx, kid)
    if key is None:
        raise NotFound(f"There is no key {kid}: list the keys of the account to find its kid.")
    return key


def _usable(key: Key, now_us: int) -> Key:
    state = shapes.key_state(key, now_us)
    if state != "active":
        raise Conflict(f"The key {key.facts.kid} is {state}: create a new one.")
    if key.replaced_by:
        raise Conflict(f"The key {key.facts.kid} was replaced by {key.replaced_by}: rotate that one.")
    return key


def _environment(value: object) -> Environment:
    if value == "live":
        return "live"
    if value == "test":
        return "test"
    raise InvalidInput(f"Make a key for the environment live or test, not {shown(value)}.")
