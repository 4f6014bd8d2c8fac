"""The tables that programs had before schemas were numbered.

Each only where it is missing: an early program made fewer of them.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "1"
down_revision = None


def account() -> sa.ForeignKey:
    return sa.ForeignKey("accounts.address", ondelete="CASCADE")


def upgrade() -> None:
    op.create_table(
        "accounts",
        sa.Column("address", sa.String(320), primary_key=True),
        sa.Column("password_hash", sa.String(255), nullable=False),
        sa.Column("created", sa.Date, nullable=False),
        sa.Column("last_login", sa.Date),
        if_not_exists=True,
    )
    op.create_table(
        "quotas",
        sa.Column(
            "address", sa.String(320), sa.ForeignKey("accounts.address", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("octets", sa.BigInteger, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "device_tokens",
        sa.Column(
            "address", sa.String(320), sa.ForeignKey("accounts.address", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("token", sa.String(4096), nullable=False),
        sa.Column("given", sa.Date, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "push_notices",
        sa.Column("address", sa.String(320), primary_key=True),
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("mails", sa.Integer, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("since", sa.Float, nullable=False),
        sa.Column("due", sa.Float, nullable=False),
        sa.ForeignKeyConstraint(
            ["address", "digest"], ["device_tokens.address", "device_tokens.digest"], ondelete="CASCADE"
        ),
        if_not_exists=True,
    )
    op.create_index("push_notices_due", "push_notices", ["due"], if_not_exists=True)
    op.create_table(
        "suspensions",
        sa.Column("address", sa.String(320), primary_key=True),
        sa.Column("since", sa.Date, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "ended_logins",
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("day", sa.Date, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "reserved_names",
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("gone", sa.Float, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "tokens",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("created", sa.Date, nullable=False),
        sa.Column("uses", sa.Integer),
        sa.Column("used", sa.Integer, nullable=False),
        sa.Column("expires", sa.Float),
        if_not_exists=True,
    )
    op.create_table(
        "policy",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("federation", sa.String(16), nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "blocklist",
        sa.Column("entry", sa.String(320), primary_key=True),
        sa.Column("added", sa.Date, nullable=False),
        sa.Column("note", sa.String(200)),
        if_not_exists=True,
    )
    op.create_table(
        "federation_exceptions",
        sa.Column("rule", sa.String(16), primary_key=True),
        sa.Column("domain", sa.String(256), primary_key=True),
        if_not_exists=True,
    )
    op.create_table(
        "routes",
        sa.Column("domain", sa.String(255), primary_key=True),
        sa.Column("target", sa.String(512)),
        sa.Column("https", sa.String(16), nullable=False),
        sa.Column("verify", sa.Boolean),
        sa.Column("one_per_recipient", sa.Boolean, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "endpoints",
        sa.Column("domain", sa.String(255), primary_key=True),
        sa.Column("host", sa.String(255)),
        sa.Column("worked", sa.Float),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("no_https_until", sa.Float),
        sa.Column("reason", sa.String(64)),
        if_not_exists=True,
    )
    op.create_table(
        "endpoint_hosts",
        sa.Column("domain", sa.String(255), primary_key=True),
        sa.Column("host", sa.String(600), primary_key=True),
        sa.Column("proven_until", sa.Float),
        sa.Column("disproven_until", sa.Float),
        sa.Column("size_limit", sa.BigInteger),
        sa.Column("limited_until", sa.Float),
        if_not_exists=True,
    )
    op.create_table(
        "breakers",
        sa.Column("domain", sa.String(255), primary_key=True),
        sa.Column("host", sa.String(255), primary_key=True),
        sa.Column("until", sa.Float, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "peers",
        sa.Column("domain", sa.String(255), primary_key=True),
        sa.Column("road", sa.String(16), primary_key=True),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("successes", sa.Integer, nullable=False),
        sa.Column("timed", sa.Integer, nullable=False),
        sa.Column("seconds", sa.Float, nullable=False),
        sa.Column("last_contact", sa.Float, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "peer_failures",
        sa.Column("domain", sa.String(255), primary_key=True),
        sa.Column("road", sa.String(16), primary_key=True),
        sa.Column("reason", sa.String(64), primary_key=True),
        sa.Column("failures", sa.Integer, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "peer_latencies",
        sa.Column("domain", sa.String(255), primary_key=True),
        sa.Column("road", sa.String(16), primary_key=True),
        sa.Column("bucket", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("successes", sa.Integer, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "peer_log_marks",
        sa.Column("reader", sa.String(255), primary_key=True),
        sa.Column("mark", sa.String(512), nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "peer_errors",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("domain", sa.String(255), nullable=False),
        sa.Column("road", sa.String(16), nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("reason", sa.String(64), nullable=False),
        sa.Column("words", sa.String(200), nullable=False),
        if_not_exists=True,
    )
    op.create_index("ix_peer_errors_domain", "peer_errors", ["domain"], if_not_exists=True)
    op.create_table(
        "recipient_refusals",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("recipient", sa.String(32), nullable=False, unique=True),
        sa.Column("code", sa.Integer, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("words", sa.String(200), nullable=False),
        sa.Column("until", sa.Float, nullable=False),
        sqlite_autoincrement=True,
        if_not_exists=True,
    )
    op.create_index("ix_recipient_refusals_until", "recipient_refusals", ["until"], if_not_exists=True)
    op.create_table(
        "missing_keys",
        sa.Column("name_hash", sa.LargeBinary(16), primary_key=True),
        sa.Column("since", sa.Float, nullable=False),
        sa.Column("last", sa.Float, nullable=False),
        if_not_exists=True,
    )
