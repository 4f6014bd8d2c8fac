"""Limits the messages received at once, so that web pages and other peers are still served.

A message occupies a thread until Postfix replies, and each recipient keeps an smtpd process busy. So threads
and recipients are limited resources, shared among networks (IPv4 addresses, IPv6 /64s) by `FairShare`.
Beyond its share, a message is refused temporarily. It does not wait, since that would occupy a thread. A
client that has left is not served at all.
"""

from __future__ import annotations

import contextlib
import select
import socket
from collections.abc import Callable, Iterator

from chatmail_milter.fair_share import FairShare

# Threads of a process that are reserved for `/new` and web pages, whose requests take milliseconds.
KEPT_FOR_PAGES = 8
# Recipients of all concurrent messages of a process, not counting the first of each, since a message to one
# recipient needs only a thread. So many for each thread, at least the second number: with 200 threads,
# a network alone may send 53 messages at once to 16 recipients each, which keeps a small host busy.
RECIPIENTS_PER_THREAD, FEWEST_RECIPIENTS = 6, 600
# A message counts for at most this many, so that one with any number of recipients is accepted when nothing
# else is in progress.
COUNTED_RECIPIENTS = 100
# Threads of each process, as in gunicorn's settings.
_threads = [KEPT_FOR_PAGES + 1]


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
