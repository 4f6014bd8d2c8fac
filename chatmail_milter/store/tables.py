"""All tables of the database. In one module, so that none can be missing because a module was not imported.

The module that reads and writes a table documents it. Columns of type Float are POSIX times, except sums
called `seconds`. Rows that belong to an account refer to it, and are deleted with it (ON DELETE CASCADE). A
change here needs a migration (`migrations/`) and a new `schema.SCHEMA`; a test compares the results of both.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
)

from chatmail_milter.store.sanitize import LONGEST

NOTE_MAX = 200  # characters
ROUTE_TARGET_MAX = 512  # characters
# Octets. Apps send a token as a non-synchronizing literal, which may have no more (LITERAL-; RFC 7888, 5).
DEVICE_TOKEN_MAX = 4096

metadata = MetaData()

# Alembic's table with the schema number. Alembic itself creates it, so it has separate metadata.
alembic_version = Table(
    "alembic_version",
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)

# Accounts, and what belongs to them.

accounts = Table(
    "accounts",
    metadata,
    Column("address", String(320), primary_key=True),  # RFC 5321, 4.5.3.1: 64 + 1 + 255
    Column("password_hash", String(255), nullable=False),
    Column("created", Date, nullable=False),
    Column("last_login", Date),
    Column("quota", BigInteger),  # octets; NULL: as the others
)

device_tokens = Table(
    "device_tokens",
    metadata,
    Column("address", String(320), ForeignKey(accounts.c.address, ondelete="CASCADE"), primary_key=True),
    Column("digest", String(64), primary_key=True),  # of the token, which is too long for a key
    Column("token", String(DEVICE_TOKEN_MAX), nullable=False),
    Column("given", Date, nullable=False),
)

notices = Table(
    "push_notices",
    metadata,
    Column("address", String(320), primary_key=True),
    Column("digest", String(64), primary_key=True),
    Column("mails", Integer, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("since", Float, nullable=False),
    Column("due", Float, nullable=False),
    # Deleted with its token, and so with its account.
    ForeignKeyConstraint(
        ["address", "digest"], [device_tokens.c.address, device_tokens.c.digest], ondelete="CASCADE"
    ),
    Index("push_notices_due", "due"),
)

# Addresses and names, with or without an account.

suspensions = Table(
    "suspensions",
    metadata,
    Column("address", String(320), primary_key=True),
    Column("since", Date, nullable=False),
)

ended_logins = Table(
    "ended_logins",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("revision", Integer, nullable=False),
    Column("day", Date, nullable=False),
)

reserved_names = Table(
    "reserved_names",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("gone", Float, nullable=False),  # rounded up; see `Names.reserve`
)

tokens = Table(
    "tokens",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("created", Date, nullable=False),
    Column("uses", Integer),  # None: any number
    Column("used", Integer, nullable=False, default=0),
    Column("expires", Float),  # None: never
)

# The policy.

# A single row, which is missing before the first change of the policy.
policy = Table(
    "policy",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("revision", Integer, nullable=False),
    Column("federation", String(16), nullable=False, default="open"),
)

blocklist = Table(
    "blocklist",
    metadata,
    Column("entry", String(320), primary_key=True),
    Column("added", Date, nullable=False),
    Column("note", String(NOTE_MAX)),
)

exceptions = Table(
    "federation_exceptions",
    metadata,
    Column("rule", String(16), primary_key=True),
    Column("domain", String(256), primary_key=True),  # 255, and the dot of `.example.org`
)

# Routing to other domains.

routes = Table(
    "routes",
    metadata,
    Column("domain", String(255), primary_key=True),
    Column("target", String(ROUTE_TARGET_MAX)),
    Column("https", String(16), nullable=False),
    Column("verify", Boolean),  # NULL: as the domain's name says
    Column("one_per_recipient", Boolean, nullable=False),
)

endpoints = Table(
    "endpoints",
    metadata,
    Column("domain", String(255), primary_key=True),
    Column("host", String(255)),  # the one that took HTTPS last
    Column("worked", Float),  # when
    Column("failures", Integer, nullable=False),  # in a row
    Column("no_https_until", Float),
    Column("reason", String(64)),  # of the last failure
)

endpoint_hosts = Table(
    "endpoint_hosts",
    metadata,
    Column("domain", String(255), primary_key=True),
    Column("host", String(600), primary_key=True),
    Column("proven_until", Float),
    Column("disproven_until", Float),
    Column("size_limit", BigInteger),  # octets of the smallest message that was refused for its size
    Column("limited_until", Float),
)

breakers = Table(
    "breakers",
    metadata,
    Column("domain", String(255), primary_key=True),
    Column("host", String(255), primary_key=True),  # whose relay process it is
    Column("until", Float, nullable=False),  # at the latest
)

# Statistics of peers.

peers = Table(
    "peers",
    metadata,
    Column("domain", String(255), primary_key=True),
    Column("road", String(16), primary_key=True),
    Column("attempts", Integer, nullable=False),
    Column("successes", Integer, nullable=False),
    Column("timed", Integer, nullable=False),  # successes whose latency is known
    Column("seconds", Float, nullable=False),  # their sum
    Column("last_contact", Float, nullable=False),
)

peer_failures = Table(
    "peer_failures",
    metadata,
    Column("domain", String(255), primary_key=True),
    Column("road", String(16), primary_key=True),
    Column("reason", String(64), primary_key=True),
    Column("failures", Integer, nullable=False),
)

peer_latencies = Table(
    "peer_latencies",
    metadata,
    Column("domain", String(255), primary_key=True),
    Column("road", String(16), primary_key=True),
    Column("bucket", Integer, primary_key=True, autoincrement=False),
    Column("successes", Integer, nullable=False),
)

# How far a log reader has read. Written in the transaction of its counts, so that none is lost or counted
# twice.
peer_log_marks = Table(
    "peer_log_marks",
    metadata,
    Column("reader", String(255), primary_key=True),
    Column("mark", String(512), nullable=False),
)

peer_errors = Table(
    "peer_errors",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("domain", String(255), nullable=False, index=True),
    Column("road", String(16), nullable=False),
    Column("at", Float, nullable=False),
    Column("reason", String(64), nullable=False),
    Column("words", String(LONGEST), nullable=False),
)

recipient_refusals = Table(
    "recipient_refusals",
    metadata,
    # Increases with each insertion and is never reused: rows above the last number seen are new.
    Column("number", Integer, primary_key=True),
    Column("recipient", String(32), nullable=False, unique=True),
    Column("code", Integer, nullable=False),
    Column("status", String(16), nullable=False),
    Column("words", String(LONGEST), nullable=False),
    Column("until", Float, nullable=False, index=True),
    sqlite_autoincrement=True,
)

missing_keys = Table(
    "missing_keys",
    metadata,
    Column("name_hash", LargeBinary(16), primary_key=True),
    Column("since", Float, nullable=False),
    Column("last", Float, nullable=False),
)

# Traffic by the hour. `hour` is the POSIX time of its beginning, divided by 3600. The rows of the hour TOTAL
# are counters, which only grow (`counters`).
TOTAL = 0

traffic = Table(
    "traffic",
    metadata,
    Column("hour", Integer, primary_key=True, autoincrement=False),
    Column("way", String(16), primary_key=True),
    Column("reason", String(64), primary_key=True),  # of a failure; empty for successes
    Column("messages", Integer, nullable=False),
    Column("timed", Integer, nullable=False),  # those whose latency is known
    Column("seconds", Float, nullable=False),  # their sum
)

traffic_latencies = Table(
    "traffic_latencies",
    metadata,
    Column("hour", Integer, primary_key=True, autoincrement=False),
    Column("way", String(16), primary_key=True),
    Column("bucket", Integer, primary_key=True, autoincrement=False),
    Column("successes", Integer, nullable=False),
)

traffic_peers = Table(
    "traffic_peers",
    metadata,
    Column("hour", Integer, primary_key=True, autoincrement=False),
    Column("domain", String(255), primary_key=True),
    Column("road", String(16), primary_key=True),
    Column("attempts", Integer, nullable=False),
    Column("successes", Integer, nullable=False),
    Column("timed", Integer, nullable=False),
    Column("seconds", Float, nullable=False),
    Index("traffic_peers_domain", "domain", "hour"),
)
