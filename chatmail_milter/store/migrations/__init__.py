"""Numbered migrations: how the store of each earlier program becomes one of this program. By Alembic.

`versions/schema_N.py` makes schema N from N - 1. A released file is never edited, nor does it import our
tables: it says what they were. Imported only if a store is behind.
https://alembic.sqlalchemy.org/en/latest/cookbook.html#connection-sharing
"""

from __future__ import annotations

import logging

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection


def configuration(connection: Connection) -> Config:
    """Alembic's configuration for a store that is open."""
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", "chatmail_milter.store:migrations")
    return config


def upgrade(connection: Connection) -> None:
    """Bring a store to the last schema, in the transaction of `connection`, which the caller commits."""
    # Its lines are not of our form; `schema.py` logs one.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    command.upgrade(configuration(connection), "head")
