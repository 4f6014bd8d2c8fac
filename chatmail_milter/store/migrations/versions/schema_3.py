"""Tables of traffic by the hour."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "3"
down_revision = "2"


def upgrade() -> None:
    op.create_table(
        "traffic",
        sa.Column("hour", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("way", sa.String(16), nullable=False),
        sa.Column("reason", sa.String(64), nullable=False),
        sa.Column("messages", sa.Integer, nullable=False),
        sa.Column("timed", sa.Integer, nullable=False),
        sa.Column("seconds", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("hour", "way", "reason"),
    )
    op.create_table(
        "traffic_latencies",
        sa.Column("hour", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("way", sa.String(16), nullable=False),
        sa.Column("bucket", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("successes", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("hour", "way", "bucket"),
    )
    op.create_table(
        "traffic_peers",
        sa.Column("hour", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("domain", sa.String(255), nullable=False),
        sa.Column("road", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("successes", sa.Integer, nullable=False),
        sa.Column("timed", sa.Integer, nullable=False),
        sa.Column("seconds", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("hour", "domain", "road"),
    )
    op.create_index("traffic_peers_domain", "traffic_peers", ["domain", "hour"])
