"""How many messages the app takes in at once, so that pages and other peers' messages are served beside them.

A message holds a thread of its process until Postfix has answered, and keeps a process of Postfix busy with
each of its recipients. Threads and recipients are shared by those who send at the same time: a network (an
IPv4 address, an IPv6 /64) may take more while it has less than twice what is left. So one alone gets two
thirds, each of two gets two fifths, and there is room for one more. (Choudhury and Hahne, "Dynamic queue
length thresholds for shared-memory packet switches", 1998.) A message that finds no room is refused for now.
Nothing waits here: that would take a thread, too.
"""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator

# Of a process's threads, those that messages never take: for `/new` and the pages, milliseconds each.
KEPT_FOR_PAGES = 8
# Recipients of all messages that a process takes at once, beyond the first of each: who sends to one needs a
# thread and nothing else. A network alone may send 50 messages at once to 16 each, by two processes. That
# keeps a small host busy.
MOST_RECIPIENTS = 600
# A message that has more counts for so many: they are named one after the other, and one of any size finds
# room.
COUNTED_RECIPIENTS = 100
# How much a network has, in proportion to what is left, where it may take no more.
_SHARE = 2

# How many threads each process has, as gunicorn was told.
_threads = [KEPT_FOR_PAGES + 1]


class BusyError(Exception):
    """As many messages as may be are under way."""


class ConcurrencyLimit:
    """For one process, any number of its threads."""

    def __init__(self, threads: int) -> None:
        """`threads` of the process. Raises ValueError if there are too few for one message."""
        if threads <= KEPT_FOR_PAGES:
            raise ValueError(f"{threads} threads: more than {KEPT_FOR_PAGES} are needed")
        self._messages = Shared(threads - KEPT_FOR_PAGES)
        self._recipients = Shared(MOST_RECIPIENTS)

    @contextlib.contextmanager
    def admitted(self, network: str, recipients: int) -> Iterator[None]:
        """Room for a message of `network` while the block runs; `BusyError` if there is none."""
        further = min(recipients, COUNTED_RECIPIENTS) - 1
        with self._messages.taken(network, 1), self._recipients.taken(network, further):
            yield


class Shared:
    """Room of a size; a network may take more while it has less than twice what is left. For threads."""

    def __init__(self, size: int) -> None:
        self._free = size
        self._taken: Counter[str] = Counter()
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def taken(self, network: str, amount: int) -> Iterator[None]:
        """`amount` of the room while the block runs; `BusyError` if the network may not have it."""
        with self._lock:
            # As if it were taken one by one: this is about the last of them.
            before = amount - 1
            if amount and self._taken[network] + before >= _SHARE * (self._free - before):
                raise BusyError
            self._free -= amount
            self._taken[network] += amount
        try:
            yield
        finally:
            with self._lock:
                self._free += amount
                self._taken[network] -= amount
                # Nothing is kept of who has nothing here.
                if not self._taken[network]:
                    del self._taken[network]


def announce(threads: int) -> None:
    """Before workers are forked: say how many threads each will have."""
    _threads[:] = [threads]


def of_this_process() -> ConcurrencyLimit:
    """A new one, for as many threads as were announced."""
    return ConcurrencyLimit(_threads[0])
