"""SQLite checkpoints: what was committed moves from the log (the WAL) into the database file, within seconds.

SQLite itself does so only after 1000 pages, or when the last program closes the database, and our daemons run
for months: a copy of `store.sqlite` without its WAL was an empty database for hours. So each process that
commits makes a checkpoint `QUIET` seconds after its last commit, at most `LATEST` seconds after the first one
that is not in the file yet, and when it ends. If the database is busy, it tries again.
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
# How long a checkpoint waits for another process's transaction, which takes milliseconds. Other writers have
# to wait for the checkpoint.
_LOCK_TIMEOUT = 0.1  # seconds
# How long, and how often, a process that ends retries while another process makes a checkpoint.
_END_WAITS = 2.0  # seconds
_END_AGAIN = 0.02  # seconds

log = logging.getLogger(__name__)


class Checkpoints:
    """Makes checkpoints after commits through `engine`. `quiet`, `latest`: seconds. Thread-safe.

    Its thread runs only while a checkpoint is due.
    """

    def __init__(self, engine: Engine, quiet: float, latest: float) -> None:
        # A separate connection for each checkpoint: all of the engine's may be in use.
        patience = {"timeout": _LOCK_TIMEOUT}
        self._engine = create_engine(engine.url, poolclass=NullPool, connect_args=patience)
        self._quiet = quiet
        self._latest = latest
        self._changed = threading.Condition()
        self._first: float | None = None  # first commit without a checkpoint; monotonic
        self._last = 0.0
        self._running = False
        self._ended = False
        event.listen(engine, "commit", lambda _connection: self.due())

    def due(self) -> None:
        """Notes a commit. (SQLAlchemy ends read-only transactions with a rollback.)"""
        with self._changed:
            self._note()
            if self._running or self._ended:
                return
            self._running = True
        threading.Thread(target=self._run, name="checkpoints", daemon=True).start()

    def finish(self) -> None:
        """Makes a checkpoint now, if one is due. For the end of the process."""
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
        """Seconds until the next checkpoint is due."""
        first = self._last if self._first is None else self._first
        return min(self._last + self._quiet, first + self._latest) - time.monotonic()

    def _try(self) -> bool:
        """Makes a checkpoint. False if the database was busy. True after an error: a retry would not help."""
        try:
            return _checkpoint(self._engine)
        except SQLAlchemyError as error:
            # No data is lost: a later checkpoint includes these commits.
            log.error("event=no-checkpoint error=%s", type(error).__name__)
            return True


def _checkpoint(engine: Engine) -> bool:
    """Makes a checkpoint. Returns False if the database was busy."""
    # TRUNCATE also empties the log, so that no deleted data stays there. It holds the writer lock: with two
    # PASSIVE checkpoints and a writer, SQLite up to 3.51.2 may lose data (wal.html, 11).
    with engine.connect() as connection:
        busy, _, _ = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()
    return not busy


_all: weakref.WeakKeyDictionary[Engine, Checkpoints] = weakref.WeakKeyDictionary()


def keep(engine: Engine) -> None:
    """Makes checkpoints after commits through `engine`, if it is a SQLite file."""
    if engine.dialect.name == "sqlite" and engine.url.database not in (None, "", ":memory:"):
        _all[engine] = Checkpoints(engine, QUIET, LATEST)


@atexit.register
def finish() -> None:
    """Makes all checkpoints due in this process. A program that ends by `os._exit` must call this."""
    for one in list(_all.values()):
        one.finish()
