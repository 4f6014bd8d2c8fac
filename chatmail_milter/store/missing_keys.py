"""DKIM key records that peers sign by and DNS doesn't have, and since when: a new record takes hours to be
seen.

What is stored of a record's name is a hash, so that rows are small and name no peer. Rows are few, whatever
strangers send: see `MOST`.
"""

from __future__ import annotations

import hashlib

from sqlalchemy import Engine, delete, func, select

from chatmail_milter.store.tables import missing_keys
from chatmail_milter.store.upsert import upsert

# A record that was not missed for this long, in seconds, was there meanwhile; the next time is a new one.
# Mail servers try again more often: every 4 h at the longest (RFC 5321, 4.5.4.1 wants 30 min at least).
FORGOTTEN_AFTER = 12 * 3600.0
# Of more names than this, the first are kept: a flood of made-up ones must not make old ones new again.
MOST = 20_000
# How exactly it is noted when a record was missed last, in seconds: not a write for each message.
_EXACTNESS = 60.0


class MissingKeys:
    """The records that were missing, in the store."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def missed(self, name: str, now: float) -> float:
        """The record `name` is missing: since when, in POSIX time, `now` if it wasn't before.

        Raises `sqlalchemy.exc.SQLAlchemyError`.
        """
        key = hashlib.blake2b(name.encode(), digest_size=16).digest()
        with self._engine.begin() as connection:
            row = connection.execute(
                select(missing_keys).where(missing_keys.c.name_hash == key)
            ).one_or_none()
            # A time of the future is of a clock that was wrong.
            counts = row is not None and now - FORGOTTEN_AFTER < row.last and row.since <= now
            if row is not None and counts and now - row.last < _EXACTNESS:
                return float(row.since)
            since = float(row.since) if row is not None and counts else now
            if row is None:
                connection.execute(delete(missing_keys).where(missing_keys.c.last < now - FORGOTTEN_AFTER))
                if connection.execute(select(func.count()).select_from(missing_keys)).scalar_one() >= MOST:
                    return now
            upsert(connection, missing_keys, {"name_hash": key, "since": since, "last": now})
        return since
