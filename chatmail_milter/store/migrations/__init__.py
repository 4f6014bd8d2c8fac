"""Numbered migrations from earlier schemas, by Alembic.

`versions/schema_N.py` migrates from schema N - 1 to N. A released file is never edited. It does not import
`tables.py`, which describes later schemas. Imported only if a database needs a migration.
https://alembic.sqlalchemy.org/en/latest/cookbook.html#connection-sharing
"""

from __future__ import annotations

import logging

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection


def configuration(connection: Connection) -> Config:
    """Alembic's configuration for an open connection."""
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", "chatmail_milter.store:migrations")
    return config


def upgrade(connection: Connection) -> None:
    """Migrates to the latest schema, in the transaction of `connection`, which the caller commits."""
    # `schema.py` logs the migration in our format instead.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    command.upgrade(configuration(connection), "head")
