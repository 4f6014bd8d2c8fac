"""SQLite checkpoints: what was committed moves from the log (the WAL) into the database file, within seconds.

By itself SQLite does so after 1000 pages, or when the last program closes the store, and ours run for months:
`store.sqlite`, copied alone, was an empty database for hours. So a process that commits makes a checkpoint
when it has committed nothing for `QUIET` seconds, `LATEST` after the first of its commits at the latest, and
when it ends. Where others are busy with the store, it tries again.
https://www.sqlite.org/wal.html (2.1, 3.1, 11), https://www.sqlite.org/pragma.html#pragma_wal_checkpoint
"""

from __future__ import annotations

import atexit
import logging
import threading
import time
import weakref

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

QUIET = 5.0  # seconds
LATEST = 60.0  # seconds
# How long a checkpoint waits for another's transaction, of which ours take some milliseconds. Others that
# write wait for it.
_LOCK_TIMEOUT = 0.1  # seconds
# When a process ends, another one may be at its own checkpoint, which takes as long as its disk does.
_END_WAITS = 2.0  # seconds
_END_AGAIN = 0.02  # seconds

log = logging.getLogger(__name__)


class Checkpoints:
    """The checkpoints of one engine of SQLite's, `quiet` and `latest` in seconds. Safe for threads.

    A thread of its own runs only while one is due.
    """

    def __init__(self, engine: Engine, quiet: float, latest: float) -> None:
        # Connections of its own, each for one checkpoint: the engine's may all be in use.
        patience = {"timeout": _LOCK_TIMEOUT}
        self._engine = create_engine(engine.url, poolclass=NullPool, connect_args=patience)
        self._quiet = quiet
        self._latest = latest
        self._changed = threading.Condition()
        self._first: float | None = None  # of the commits that no checkpoint follows yet; monotonic
        self._last = 0.0
        self._running = False
        self._ended = False
        event.listen(engine, "commit", lambda _connection: self.due())

    def due(self) -> None:
        """Something is being committed. (SQLAlchemy ends a transaction that only reads by a rollback.)"""
        with self._changed:
            self._note()
            if self._running or self._ended:
                return
            self._running = True
        threading.Thread(target=self._run, name="checkpoints", daemon=True).start()

    def finish(self) -> None:
        """Make the last one now, if one is due: the process ends."""
        with self._changed:
            due = self._running and not self._ended
            self._ended = True
            self._changed.notify_all()
        give_up = time.monotonic() + _END_WAITS
        while due and not self._try() and time.monotonic() < give_up:
            time.sleep(_END_AGAIN)

    def _note(self) -> None:
        self._last = time.monotonic()
        self._first = self._last if self._first is None else self._first

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._ended and (left := self._left()) > 0:
                    self._changed.wait(left)
                if self._ended:
                    return
                self._first = None
            whole = self._try()
            with self._changed:
                if not whole:
                    self._note()
                if self._first is None:
                    self._running = False
                    return

    def _left(self) -> float:
        """Seconds until one is due."""
        first = self._last if self._first is None else self._first
        return min(self._last + self._quiet, first + self._latest) - time.monotonic()

    def _try(self) -> bool:
        """Whether all of the log is in the file. Where the store fails, there is nothing to wait for."""
        try:
            return _checkpoint(self._engine)
        except SQLAlchemyError as error:
            # What can't be written now, SQLite writes with a later commit's.
            log.error("event=no-checkpoint error=%s", type(error).__name__)
            return True


def _checkpoint(engine: Engine) -> bool:
    """Whether all of the log is in the file."""
    # TRUNCATE also empties the log, so that nothing stays in there that was deleted. It holds the writers'
    # lock: with two PASSIVE ones and a writer SQLite up to 3.51.2 may lose data (wal.html, 11).
    with engine.connect() as connection:
        busy, _, _ = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()
    return not busy


_all: weakref.WeakKeyDictionary[Engine, Checkpoints] = weakref.WeakKeyDictionary()


def keep(engine: Engine) -> None:
    """From now on, let what is committed through `engine` be followed by a checkpoint."""
    if engine.dialect.name == "sqlite" and engine.url.database not in (None, "", ":memory:"):
        _all[engine] = Checkpoints(engine, QUIET, LATEST)


@atexit.register
def finish() -> None:
    """Make those now that are due in this process. A program that ends by `os._exit` calls this itself."""
    for one in list(_all.values()):
        one.finish()
