"""Finds the users with a connected IMAP client, hibernated ones included, by Dovecot's anvil process.

Anvil can only list all connections. So concurrent callers share one answer, and there is never more than one
request at a time. Answers are not cached: a client that disconnected a moment ago needs a push notification.
https://github.com/dovecot/core/blob/release-2.3.19/src/anvil/anvil-connection.c
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Iterable

_GREETING = b"VERSION\tanvil\t1\t0\n"
_QUESTION = b"CONNECT-DUMP\n"
QUERY_TIMEOUT = 5.0  # seconds
_MOST = 64 << 20  # octets: half a million connections and more

_log = logging.getLogger(__name__)


class ConnectedUsers:
    """Queries anvil at the Unix socket `path`. Thread-safe."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._changed = threading.Condition()
        self._begun = self._done = 0
        self._connected: frozenset[str] = frozenset()

    def has(self, user: str) -> bool:
        """Whether `user` is connected. False after an error: a needless notification does no harm."""
        with self._changed:
            # A request that began before this call may give an answer from before it.
            wanted = self._begun + 1
            while self._done < wanted:
                if self._begun == self._done:
                    self._ask()
                else:
                    self._changed.wait()
            return user in self._connected

    def _ask(self) -> None:
        self._begun += 1
        self._changed.release()
        try:
            connected = frozenset(users(_dump(self._path)))
        except (OSError, ValueError) as error:
            _log.warning("event=connections-unknown error=%s", type(error).__name__)
            connected = frozenset()
        finally:
            self._changed.acquire()
            self._done += 1
            self._changed.notify_all()
        self._connected = connected


def users(dump: bytes) -> Iterable[str]:
    """The users in anvil's answer, whose lines are `imap/IP/user TAB pid TAB count`."""
    for line in dump.splitlines():
        service, _, who = line.partition(b"\t")[0].partition(b"/")
        if service == b"imap":
            yield who.partition(b"/")[2].decode("utf-8", "replace")


def _dump(path: str) -> bytes:
    """Anvil's answer, up to the empty line. Raises `OSError`, or `ValueError` if it is incomplete."""
    deadline = time.monotonic() + QUERY_TIMEOUT
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(QUERY_TIMEOUT)
        connection.connect(path)
        connection.sendall(_GREETING + _QUESTION)
        answer = bytearray()
        # If nobody is connected, the answer is a single empty line.
        while answer != b"\n" and not answer.endswith(b"\n\n"):
            if time.monotonic() > deadline:
                raise TimeoutError
            octets = connection.recv(1 << 16)
            if not octets or len(answer) > _MOST:
                raise ValueError("not all of it came")
            answer += octets
    return bytes(answer)
