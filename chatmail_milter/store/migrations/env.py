"""Alembic's environment script: runs the migrations on the caller's connection, which the caller commits."""

from __future__ import annotations

from alembic import context

from chatmail_milter.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
