"""The one JSON form of everything that the office answers with."""

from collections.abc import Sequence

from metergate.admin.desk import Json
from metergate.core.money import as_json
from metergate.core.periods import rfc3339
from metergate.ledger.accounts import Account
from metergate.ledger.audit import AuditRow
from metergate.ledger.grants import GrantRow
from metergate.ledger.keys import Key
from metergate.ledger.transactions import Entry, Transaction
from metergate.ledger.usage import UsageRow


def when(at_us: int | None) -> str | None:
    return rfc3339(at_us) if at_us else None


def account(row: Account) -> Json:
    return {
        "id": row.id,
        "plan": row.plan or None,
        "plan_since": when(row.plan_since_us),
        "name": row.name,
        "email": row.email,
        "currency": row.currency,
        "metadata": dict(row.metadata),
        "suspended": row.suspended,
        "created_at": when(row.created_at_us),
    }


def subscription(row: Account) -> Json:
    return {"account": row.id, "plan": row.plan or None, "since": when(row.plan_since_us)}


def key(row: Key, now_us: int, currency: str, text: str | None = None) -> Json:
    """A key as everybody may see it; its text only at the moment it is made."""
    facts = row.facts
    shown = {
        "kid": facts.kid,
        "account": facts.account,
        "environment": facts.environment,
        "scopes": list(facts.scopes),
        "networks": list(facts.networks),
        "last4": row.last4,
        "state": key_state(row, now_us),
        "expires_at": when(facts.expires_at_us),
        "revoked_at": when(row.revoked_at_us),
        "replaced_by": row.replaced_by or None,
        "cap": as_json(facts.cap_nanos, currency) | {"every": facts.cap_every} if facts.cap_nanos else None,
        "created_at": when(row.created_at_us),
        "last_used_at": when(row.used_at_us),
    }
    return shown if text is None else {"key": text, **shown}


def key_state(row: Key, now_us: int) -> str:
    if row.facts.revoked:
        return "revoked"
    return "expired" if 0 < row.facts.expires_at_us <= now_us else "active"


def grant(row: GrantRow, remaining: int, now_us: int) -> Json:
    return {
        "id": row.id,
        "account": row.account,
        "amount": as_json(row.amount, row.currency),
        "remaining": as_json(remaining, row.currency),
        "state": _grant_state(row, remaining, now_us),
        "promotional": row.promotional,
        "priority": row.priority,
        "expires_at": when(row.expires_at_us),
        "memo": row.memo,
        "created_at": when(row.created_at_us),
    }


def _grant_state(row: GrantRow, remaining: int, now_us: int) -> str:
    if row.expires_at_us is not None and row.expires_at_us <= now_us:
        return "expired"
    return "active" if remaining else "used"


def usage(row: UsageRow) -> Json:
    return {
        "id": row.id,
        "request_id": row.request_id,
        "account": row.account,
        "key": row.key or None,
        "service": row.service,
        "route": row.route,
        "path": row.path,
        "meter": row.meter,
        "units": row.units,
        "dimensions": dict(row.dimensions),
        "cost": as_json(row.cost, row.currency),
        "measured": row.measured,
        "plan": row.plan or None,
        "policy": row.policy,
        "at": when(row.at_us),
    }


def transaction(row: Transaction, entries: Sequence[Entry]) -> Json:
    return {
        "id": row.id,
        "kind": row.kind,
        "account": row.account,
        "at": when(row.at_us),
        "entries": [_entry(entry) for entry in entries],
    }


def _entry(row: Entry) -> Json:
    return {
        "book": row.book,
        "account": row.account,
        "grant": row.grant,
        "amount": as_json(row.amount, row.currency),
    }


def audit(row: AuditRow) -> Json:
    return {
        "id": str(row.seq),
        "at": when(row.at_us),
        "actor": row.actor,
        "action": row.action,
        "subject": row.subject,
        "details": dict(row.details),
    }
