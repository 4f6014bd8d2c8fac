"""How many messages the app takes in at once, so that pages and other peers' messages are served beside them.

A message holds a thread of its process until Postfix has answered. One with many recipients holds it for
seconds, since each of them is looked up, and a stranger can send many of those: these have a share of their
own. A message that finds no room is refused for now. Nothing waits here: that would take a thread, too.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

# Of a process's threads, those that messages never take: for `/new` and the pages, milliseconds each.
KEPT_FOR_PAGES = 8
# A message with more recipients is one with many; how many of these a process takes at once: two processes
# keep Postfix's lookups busy with them on a small host.
MANY_RECIPIENTS, MOST_WITH_MANY = 100, 8

# How many threads each process has, as gunicorn was told.
_threads = [KEPT_FOR_PAGES + 1]


class BusyError(Exception):
    """As many messages as may be are under way."""


class AdmissionControl:
    """For one process, any number of its threads."""

    def __init__(self, threads: int) -> None:
        """`threads` of the process. Raises ValueError if there are too few for one message."""
        if threads <= KEPT_FOR_PAGES:
            raise ValueError(f"{threads} threads: more than {KEPT_FOR_PAGES} are needed")
        self._messages = threading.Semaphore(threads - KEPT_FOR_PAGES)
        self._with_many = threading.Semaphore(MOST_WITH_MANY)

    @contextlib.contextmanager
    def admitted(self, recipients: int) -> Iterator[None]:
        """Room for a message while the block runs; `BusyError` if there is none."""
        with contextlib.ExitStack() as taken:
            taken.enter_context(_one_of(self._messages))
            if recipients > MANY_RECIPIENTS:
                taken.enter_context(_one_of(self._with_many))
            yield


def announce(threads: int) -> None:
    """Before workers are forked: say how many threads each will have."""
    _threads[:] = [threads]


def of_this_process() -> AdmissionControl:
    """A new one, for as many threads as were announced."""
    return AdmissionControl(_threads[0])


@contextlib.contextmanager
def _one_of(semaphore: threading.Semaphore) -> Iterator[None]:
    if not semaphore.acquire(blocking=False):
        raise BusyError
    try:
        yield
    finally:
        semaphore.release()
