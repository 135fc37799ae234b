"""Changes and questions as the scripts take them, and what the scripts tell of accounts, keys and holds."""

from collections.abc import Sequence

import msgspec

from metergate.core.facts import AccountFacts, Caller, KeyFacts
from metergate.core.idempotency import Twin
from metergate.ports import (
    Adjust,
    Ask,
    AskAccount,
    AskKey,
    Change,
    Expired,
    PutAccount,
    PutBudget,
    PutKey,
    Told,
)

_encode = msgspec.msgpack.Encoder().encode
_account = msgspec.msgpack.Decoder(AccountFacts).decode
_key = msgspec.msgpack.Decoder(KeyFacts).decode

_decode = msgspec.json.Decoder(tuple[str, str, int]).decode

Argument = bytes | str | int


def change_arguments(change: Change) -> tuple[Argument, ...]:
    if isinstance(change, PutAccount):
        account = change.account
        return "A", account.id, account.version, _encode(account), change.balance
    if isinstance(change, PutKey):
        key = change.key
        return "K", key.kid, key.account, key.version, _encode(key)
    if isinstance(change, Adjust):
        return "J", change.id, change.account, change.delta
    if isinstance(change, PutBudget):
        return "B", change.name, change.value, change.until_us
    twin, answer = change
    return "T", twin.id, twin.fingerprint, twin.until_us, "-" if answer is None else "+", answer or b""


def ask_arguments(ask: Ask) -> tuple[str, str]:
    if isinstance(ask, AskKey):
        return "K", ask.kid
    return ("A", ask.id) if isinstance(ask, AskAccount) else ("B", ask.name)


def told(reply: bytes | Sequence[bytes]) -> Told:
    """A budget's value, or a caller; nothing for what is not known."""
    if isinstance(reply, bytes):
        return int(reply) if reply else None
    account, generation, *key = reply
    return Caller(_account(account), _key(key[0]) if key else None, int(generation))


def expired(op: bytes, request: bytes, dispatched: bytes, terms: bytes, twin: bytes) -> Expired:
    known = Twin(*_decode(twin)) if twin else None
    return Expired(op.decode(), (request or op).decode(), dispatched == b"1", terms, known)
