"""Limits the messages received at once, so that web pages and other peers are still served.

A message occupies a thread until Postfix replies, and each recipient keeps an smtpd process busy. So threads
and recipients are limited resources, shared among networks (IPv4 addresses, IPv6 /64s): a network may take
more while it has less than twice what is free. One network alone gets up to two thirds, each of two gets two
fifths, and some is always free for another. (Choudhury and Hahne, "Dynamic queue length thresholds for
shared-memory packet switches", 1998.) Beyond, a message is refused temporarily. It does not wait, since that
would occupy a thread. A client that has left is not served at all.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator

# Threads of a process that are reserved for `/new` and web pages, whose requests take milliseconds.
KEPT_FOR_PAGES = 8
# Recipients of all concurrent messages of a process, not counting the first of each, since a message to one
# recipient needs only a thread. So many for each thread, at least the second number: with 200 threads,
# a network alone may send 53 messages at once to 16 recipients each, which keeps a small host busy.
RECIPIENTS_PER_THREAD, FEWEST_RECIPIENTS = 6, 600
# A message counts for at most this many, so that one with any number of recipients is accepted when nothing
# else is in progress.
COUNTED_RECIPIENTS = 100
# A network may take no more when it has this many times what is free.
_SHARE = 2

# Threads of each process, as in gunicorn's settings.
_threads = [KEPT_FOR_PAGES + 1]


class BusyError(Exception):
    """The network's share, or the whole, is in use: the message is refused temporarily."""


class ConcurrencyLimit:
    """The limits of one process. Thread-safe."""

    def __init__(self, threads: int) -> None:
        """`threads`: of the process. Raises `ValueError` if they are too few for a message."""
        if threads <= KEPT_FOR_PAGES:
            raise ValueError(f"{threads} threads: more than {KEPT_FOR_PAGES} are needed")
        self._messages = FairShare(threads - KEPT_FOR_PAGES)
        self._recipients = FairShare(max(FEWEST_RECIPIENTS, RECIPIENTS_PER_THREAD * threads))

    @contextlib.contextmanager
    def admitted(self, network: str, recipients: int) -> Iterator[None]:
        """Admits a message of `network` while the block runs. Raises `BusyError`."""
        further = min(recipients, COUNTED_RECIPIENTS) - 1
        with self._messages.taken(network, 1), self._recipients.taken(network, further):
            yield


class FairShare:
    """A resource of `size` units, shared among networks as the module's docstring says. Thread-safe."""

    def __init__(self, size: int) -> None:
        self._free = size
        self._taken: Counter[str] = Counter()
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def taken(self, network: str, amount: int) -> Iterator[None]:
        """Takes `amount` units while the block runs. Raises `BusyError` if the network may not have them."""
        with self._lock:
            # As if units were taken one by one: tests the condition for the last one.
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
                # Keeps the table small, and no network in memory without a message.
                if not self._taken[network]:
                    del self._taken[network]


def announce(threads: int) -> None:
    """Sets the number of threads per worker. Call before workers are forked."""
    _threads[:] = [threads]


def of_this_process() -> ConcurrencyLimit:
    """A new limit for this process, with the announced number of threads."""
    return ConcurrencyLimit(_threads[0])


def client_left(connection: socket.socket | None) -> Callable[[], bool]:
    """A function that returns whether the client has closed `connection`; always False for None.

    nginx closes it when its own client does. Tests POLLHUP, not POLLRDHUP: a client that only shut down
    sending still waits for the answer. Only Unix sockets tell the two apart.
    """
    if connection is None:
        return lambda: False
    poll = select.poll()
    poll.register(connection, 0)
    return lambda: bool(poll.poll(0))
