"""Tables that an earlier version made otherwise, made anew with what is in them.

One so far: `quotas` did not refer to the accounts, so nothing took an account's quota along.
"""

from __future__ import annotations

from sqlalchemy import Connection, Engine, insert, select
from sqlalchemy.schema import CreateTable, DropTable

from chatmail_milter.store.accounts import accounts
from chatmail_milter.store.quotas import quotas

_REFERS = {
    "sqlite": "SELECT 1 FROM pragma_foreign_key_list('quotas')",
    "postgresql": "SELECT 1 FROM information_schema.table_constraints "
    "WHERE table_name = 'quotas' AND constraint_type = 'FOREIGN KEY'",
}
# Whoever comes at the same time waits, and then finds it done.
_ALONE = {"sqlite": "BEGIN IMMEDIATE", "postgresql": "LOCK TABLE accounts IN ACCESS EXCLUSIVE MODE"}


def mend(engine: Engine) -> None:
    """Whatever has to be done to a store whose tables are there, in one transaction."""
    with engine.connect() as connection:
        if _refers(connection):
            return
    with engine.begin() as connection:
        connection.exec_driver_sql(_ALONE[engine.dialect.name])
        if not _refers(connection):
            _make_quotas_anew(connection)


def _refers(connection: Connection) -> bool:
    return connection.exec_driver_sql(_REFERS[connection.dialect.name]).first() is not None


def _make_quotas_anew(connection: Connection) -> None:
    of_somebody = quotas.c.address.in_(select(accounts.c.address))
    kept = connection.execute(select(quotas).where(of_somebody)).mappings().all()
    connection.execute(DropTable(quotas))
    connection.execute(CreateTable(quotas))
    if kept:
        connection.execute(insert(quotas), [dict(row) for row in kept])
