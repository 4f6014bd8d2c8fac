"""Work on the event loop, which nothing may keep waiting: what would wait raises, and a thread does it all.

Whatever waits for the store, DNS, a peer or Postfix calls `may_wait` first. What was done before that is done
again by the thread, so nothing is counted or logged before the last call.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

_here = threading.local()


class WouldWaitError(Exception):
    """Not at once."""


@contextmanager
def at_once() -> Iterator[None]:
    """Inside, in this thread, `may_wait` raises `WouldWaitError`."""
    _here.hurried = True
    try:
        yield
    finally:
        _here.hurried = False


def may_wait() -> None:
    """Before anything that may take longer than a moment."""
    if getattr(_here, "hurried", False):
        raise WouldWaitError
