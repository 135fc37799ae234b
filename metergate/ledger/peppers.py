"""Proof that every process of a ledger hashes keys with the same peppers, without keeping one of them."""

import hashlib
import hmac
from collections.abc import Mapping

import sqlalchemy as sa

from metergate.errors import ConfigurationError
from metergate.ledger import bulk
from metergate.ledger.database import Tx
from metergate.ledger.tables import peppers


def prove(tx: Tx, given: Mapping[int, bytes]) -> None:
    """Refuse a pepper that is not the one of its version; the first that comes with a version is."""
    rows = [(tx.org, version, _proof(pepper)) for version, pepper in given.items()]
    bulk.insert(tx, peppers, ("org", "version", "proof"), rows, "ON CONFLICT DO NOTHING")
    known = tx.execute(sa.select(peppers.c.version, peppers.c.proof).where(peppers.c.org == tx.org))
    proofs = {row.version: row.proof for row in known}
    if any(not hmac.compare_digest(proofs[version], proof) for _, version, proof in rows):
        raise ConfigurationError(
            "Set METERGATE_PEPPER to what the keys of this ledger were made with (the first process may keep "
            "it in its data folder, in the file `pepper`): with another one nobody would recognise them."
        )


def _proof(pepper: bytes) -> str:
    return hmac.digest(pepper, b"metergate: the pepper of a ledger", hashlib.sha256).hex()
