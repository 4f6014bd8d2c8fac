"""What Alembic runs for each command, here on a connection that its caller opened and commits."""

from __future__ import annotations

from alembic import context

from chatmail_milter.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
