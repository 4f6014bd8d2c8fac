"""Remote recipients that their server refused permanently, and its reply, for a day. Contains no addresses.

Within the day, a user who writes to such a recipient gets that reply at submission, because apps don't show
bounces. The recipient is stored as a pseudonym (`pseudonyms.py`); in the reply's text, `RECIPIENT` replaces
its address. Nothing is stored about the sender or the message.

A message from or to a peer may end a refusal, but rarely does. So each process caches the set of pseudonyms,
and queries the database only for those. The cache is never older than `LEASE`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Engine, delete, func, select
from sqlalchemy.exc import SQLAlchemyError

from chatmail_milter.store import REFUSALS_KEPT
from chatmail_milter.store.pseudonyms import pseudonym
from chatmail_milter.store.revision import LEASE
from chatmail_milter.store.sanitize import LONGEST
from chatmail_milter.store.tables import recipient_refusals

# Most rows, of which the latest are kept: a user can write to any number of invented addresses.
MOST = 20_000
# Replaces the recipient's address in a reply's text. (U+FFFC, the object replacement character.)
RECIPIENT = "\N{OBJECT REPLACEMENT CHARACTER}"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A peer's permanent reply about a recipient: code, status (RFC 3463), and text with `RECIPIENT`."""

    code: int
    status: str
    words: str


class Refusals:
    """Access to the refusals, by canonical address. Thread-safe.

    Methods raise `sqlalchemy.exc.SQLAlchemyError`. `key`: for pseudonyms. `now`: POSIX time. `clock`:
    monotonic seconds. `waits`: called before each query of the database; it may raise.
    """

    def __init__(
        self,
        engine: Engine,
        key: bytes,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
        waits: Callable[[], None] = lambda: None,
    ) -> None:
        self._engine = engine
        self._waits = waits
        self._key = key
        self._now = now
        self._clock = clock
        self._reading = threading.Lock()
        self._seen = 0
        self._there: set[str] = set()
        self._read_again = float("-inf")

    def remember(self, address: str, refusal: Refusal, at: float | None = None) -> None:
        """Stores a refusal of `address`, replacing an earlier one. `at`: POSIX time, by default now."""
        who, now = pseudonym(self._key, address), self._now()
        until = (now if at is None else at) + REFUSALS_KEPT.total_seconds()
        if until <= now:
            return
        row = {
            "recipient": who,
            "code": refusal.code,
            "status": refusal.status,
            "words": refusal.words[:LONGEST],
            "until": until,
        }
        with self._engine.begin() as connection:
            # A new row instead of an update: other processes look for new row numbers.
            connection.execute(delete(recipient_refusals).where(recipient_refusals.c.recipient == who))
            connection.execute(recipient_refusals.insert(), row)
        with self._reading:
            self._there.add(who)

    def of(self, address: str) -> Refusal | None:
        """The refusal of `address`; None if there is none."""
        who = pseudonym(self._key, address)
        if not self._may_be_there(who):
            return None
        mine = recipient_refusals.c.recipient == who
        with self._engine.connect() as connection:
            row = connection.execute(select(recipient_refusals).where(mine)).one_or_none()
        return None if row is None or row.until <= self._now() else Refusal(row.code, row.status, row.words)

    def forget(self, address: str) -> bool:
        """Deletes the refusal of `address`, which sent or accepted mail. True if there was one."""
        who = pseudonym(self._key, address)
        if not self._may_be_there(who):
            return False
        self._waits()
        mine = recipient_refusals.c.recipient == who
        with self._reading:
            # Before the DELETE: a new refusal that is stored meanwhile must not be lost from the cache.
            self._there.discard(who)
        try:
            with self._engine.begin() as connection:
                return connection.execute(delete(recipient_refusals).where(mine)).rowcount > 0
        except SQLAlchemyError:
            with self._reading:
                self._there.add(who)
            raise

    def _may_be_there(self, who: str) -> bool:
        """False if the database has no row of this pseudonym."""
        if self._clock() >= self._read_again:
            self._waits()
            with self._reading:
                if self._clock() >= self._read_again:
                    self._read()
        return who in self._there

    def _read(self) -> None:
        read_again = self._clock() + LEASE
        number = recipient_refusals.c.number
        with self._engine.connect() as connection:
            last = connection.execute(select(func.max(number))).scalar_one() or 0
            if last > self._seen:
                if len(self._there) > 2 * MOST:
                    # The cache keeps deleted rows, too. By now most are, so it is read anew.
                    self._there, self._seen = set(), 0
                new = select(recipient_refusals.c.recipient).where(number > self._seen)
                self._there.update(connection.execute(new).scalars())
                self._seen = last
        self._read_again = read_again


def forget_all(engine: Engine) -> int:
    """Deletes all refusals; returns their number."""
    with engine.begin() as connection:
        return connection.execute(delete(recipient_refusals)).rowcount


def forget_old(engine: Engine, now: float, most: int = MOST) -> int:
    """Deletes refusals expired at `now` (POSIX time), and those beyond `most`; returns their number."""
    number = recipient_refusals.c.number
    with engine.begin() as connection:
        beyond = select(number).order_by(number.desc()).offset(most).limit(1)
        last = connection.execute(beyond).scalar_one_or_none() or 0
        old = (recipient_refusals.c.until <= now) | (number <= last)
        return connection.execute(delete(recipient_refusals).where(old)).rowcount
