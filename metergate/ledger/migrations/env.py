"""What alembic runs: it migrates over the connection of `Ledger.migrate`, inside its transaction."""

from alembic import context

from metergate.ledger.migrations import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    version_table=VERSION_TABLE,
    transactional_ddl=False,
)
context.run_migrations()
