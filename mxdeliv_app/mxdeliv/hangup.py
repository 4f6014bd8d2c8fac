"""Detects that a client has closed its connection."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable


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
