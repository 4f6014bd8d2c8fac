"""Whether whoever asks still waits for the answer."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable


def client_left(connection: socket.socket | None) -> Callable[[], bool]:
    """Whether the client has closed this connection, as nginx does once its own client has left.

    POLLHUP: a client that only sends no more (POLLRDHUP) still waits for the answer. Only a Unix socket tells
    the one from the other. Never true where there is no connection.
    """
    if connection is None:
        return lambda: False
    poll = select.poll()
    poll.register(connection, 0)
    return lambda: bool(poll.poll(0))
