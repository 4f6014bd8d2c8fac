"""Keeps the event loop free: repeats blocking code in a thread, and ends reads that take too long.

Code that waits for the database, DNS, a peer or Postfix calls `may_wait` first. As the thread repeats all
from the beginning, nothing may be counted or logged before the last `may_wait`.

OpenSSL keeps reading while a peer sends records without data: TLS 1.3 limits neither the number of KeyUpdates
(RFC 8446, 4.6.3) nor padding. A thread checks ten times a second, and cuts a connection if one read takes
longer than `LONGEST`. (OpenSSL releases the interpreter's lock.)
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

LONGEST = 0.2  # seconds; a read of all that a socket holds takes a millisecond
_PAUSE = 0.1  # seconds

_here = threading.local()


class WouldWaitError(Exception):
    """The code would block the event loop."""


@contextmanager
def at_once() -> Iterator[None]:
    """While the block runs, `may_wait` raises `WouldWaitError` in this thread."""
    _here.hurried = True
    try:
        yield
    finally:
        _here.hurried = False


def may_wait() -> None:
    """Call before anything that may block. Raises `WouldWaitError` within `at_once`."""
    if getattr(_here, "hurried", False):
        raise WouldWaitError


class Cuttable(Protocol):
    """A connection that can be ended from any thread."""

    def cut(self) -> None: ...


class StallGuard:
    """Watches the reads of one event loop, one at a time. Its thread starts with the first read."""

    def __init__(self) -> None:
        self._reading: tuple[Cuttable, float] | None = None
        self._thread: threading.Thread | None = None

    @contextmanager
    def reading(self, connection: Cuttable) -> Iterator[None]:
        """Context of a read, which is ended if it takes too long."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="stall-guard", daemon=True)
            self._thread.start()
        self._reading = (connection, time.monotonic())
        try:
            yield
        finally:
            self._reading = None

    def _watch(self) -> None:
        while True:
            time.sleep(_PAUSE)
            reading = self._reading
            if reading is not None and time.monotonic() - reading[1] > LONGEST:
                reading[0].cut()
