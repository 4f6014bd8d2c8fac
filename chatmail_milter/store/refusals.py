"""Recipients elsewhere that their own servers refused for good: in which words, for a day. Holds no address.

Who writes to such a recipient within the day learns at submission what the peer said; apps show no bounces.
A recipient has a pseudonym (`pseudonyms.py`), and `RECIPIENT` stands for its address in the peer's words.
Nothing is kept of the sender or the message.

Each message that a peer brings or takes may end a refusal, and hardly any does: every process knows which
pseudonyms there are, and asks the store for no other. What it knows is no older than `LEASE`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Engine, delete, func, select
from sqlalchemy.exc import SQLAlchemyError

from chatmail_milter.store.kept import REFUSALS_KEPT
from chatmail_milter.store.lease import LEASE
from chatmail_milter.store.pseudonyms import pseudonym
from chatmail_milter.store.tables import recipient_refusals
from chatmail_milter.store.words import LONGEST

# A user of ours can write to any number of names: of more than this, the last are kept.
MOST = 20_000
# Stands for the recipient's address in words. (U+FFFC, the object replacement character.)
RECIPIENT = "\N{OBJECT REPLACEMENT CHARACTER}"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A peer's final reply about one recipient: reply code, status (RFC 3463), and words with `RECIPIENT`."""

    code: int
    status: str
    words: str


class Refusals:
    """The refusals in a store, by canonical address. All may raise `sqlalchemy.exc.SQLAlchemyError`.

    Safe for threads. `key` is that of the pseudonyms, `now` POSIX time, `clock` monotonic; `waits` is called
    before the store is asked, and may raise.
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
        """`address` was refused `at` a POSIX time, now if left out; in place of what was known of it."""
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
            # Not over the old row: other processes look for new numbers.
            connection.execute(delete(recipient_refusals).where(recipient_refusals.c.recipient == who))
            connection.execute(recipient_refusals.insert(), row)
        with self._reading:
            self._there.add(who)

    def of(self, address: str) -> Refusal | None:
        """What was said of `address` within the day, and is not forgotten."""
        who = pseudonym(self._key, address)
        if not self._may_be_there(who):
            return None
        mine = recipient_refusals.c.recipient == who
        with self._engine.connect() as connection:
            row = connection.execute(select(recipient_refusals).where(mine)).one_or_none()
        return None if row is None or row.until <= self._now() else Refusal(row.code, row.status, row.words)

    def forget(self, address: str) -> bool:
        """`address` writes, or takes mail. True if a refusal is forgotten."""
        who = pseudonym(self._key, address)
        if not self._may_be_there(who):
            return False
        self._waits()
        mine = recipient_refusals.c.recipient == who
        with self._reading:
            # Before it goes from the store: should it come anew meanwhile, it is known again.
            self._there.discard(who)
        try:
            with self._engine.begin() as connection:
                return connection.execute(delete(recipient_refusals).where(mine)).rowcount > 0
        except SQLAlchemyError:
            with self._reading:
                self._there.add(who)
            raise

    def _may_be_there(self, who: str) -> bool:
        """False where the store has nothing of this pseudonym."""
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
                    # Most of it has gone from the store since.
                    self._there, self._seen = set(), 0
                new = select(recipient_refusals.c.recipient).where(number > self._seen)
                self._there.update(connection.execute(new).scalars())
                self._seen = last
        self._read_again = read_again


def forget_all(engine: Engine) -> int:
    """Forget all refusals; how many."""
    with engine.begin() as connection:
        return connection.execute(delete(recipient_refusals)).rowcount


def forget_old(engine: Engine, now: float, most: int = MOST) -> int:
    """Forget the refusals of `REFUSALS_KEPT` at `now` (POSIX time), and those beyond `most`; how many."""
    number = recipient_refusals.c.number
    with engine.begin() as connection:
        beyond = select(number).order_by(number.desc()).offset(most).limit(1)
        last = connection.execute(beyond).scalar_one_or_none() or 0
        old = (recipient_refusals.c.until <= now) | (number <= last)
        return connection.execute(delete(recipient_refusals).where(old)).rowcount
