"""DKIM key records that were missing in DNS, and since when: a new record may take hours to become visible.

Stores a hash of the record's name, so that rows are small and name no peer. At most `MOST` rows.
"""

from __future__ import annotations

import hashlib

from sqlalchemy import Engine, delete, func, select

from chatmail_milter.store.tables import missing_keys
from chatmail_milter.store.upsert import upsert

# Seconds without a failed lookup after which a row expires: then the time starts anew. Mail servers retry
# more often, at least every 4 h (RFC 5321, 4.5.4.1 asks for 30 min or more).
FORGOTTEN_AFTER = 12 * 3600.0
# Most rows. When full, the oldest are kept: a flood of invented names must not evict them and restart their
# time.
MOST = 20_000
# Seconds for which a row is not updated again, to save a write per message.
_EXACTNESS = 60.0


class MissingKeys:
    """Access to the missing records."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def missed(self, name: str, now: float) -> float:
        """Records that the DNS record `name` is missing. Returns since when (POSIX time; `now` if new).

        Raises `sqlalchemy.exc.SQLAlchemyError`.
        """
        key = hashlib.blake2b(name.encode(), digest_size=16).digest()
        with self._engine.begin() as connection:
            row = connection.execute(
                select(missing_keys).where(missing_keys.c.name_hash == key)
            ).one_or_none()
            # A time in the future was written while the clock was wrong, and does not count.
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
