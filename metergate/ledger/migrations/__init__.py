"""The ledger's tables through time. `HEAD` is the newest revision; revisions sort as text."""

from typing import Final

HEAD: Final = "0011"
# Not alembic's default name: the database may hold the tables of an application that uses alembic too.
VERSION_TABLE: Final = "metergate_version"
