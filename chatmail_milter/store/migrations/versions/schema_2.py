"""The quota of an account becomes a column of it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "2"
down_revision = "1"


def upgrade() -> None:
    op.add_column("accounts", sa.Column("quota", sa.BigInteger))
    op.execute(
        "UPDATE accounts SET quota = (SELECT octets FROM quotas WHERE quotas.address = accounts.address)"
    )
    op.drop_table("quotas")
