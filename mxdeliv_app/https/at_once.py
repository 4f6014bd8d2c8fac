"""Runs code on the event loop unless it would block: then it raises, and the caller repeats it in a thread.

Code that waits for the database, DNS, a peer or Postfix calls `may_wait` first. As the thread repeats all
from the beginning, nothing may be counted or logged before the last `may_wait`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

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
