"""Who has an IMAP client connected now, put to sleep or not: what Dovecot's anvil counts.

Anvil tells of all connections or of none, so one answer serves everybody who asked before it was given, and
there is never more than one question under way. It is not kept for later: a client that left a moment ago
must be told of new mail some other way.
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
PATIENCE = 5.0  # seconds
_MOST = 64 << 20  # octets: half a million connections and more

_log = logging.getLogger(__name__)


class Connections:
    """Asks the anvil at a unix socket; safe for threads."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._changed = threading.Condition()
        self._begun = self._done = 0
        self._connected: frozenset[str] = frozenset()

    def has(self, user: str) -> bool:
        """Whether `user` is connected. No, if nobody can say: a notice too many is better than too few."""
        with self._changed:
            # An answer that was begun before this question may be older than it.
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
    """The users in an anvil's answer, `imap/IP/user TAB pid TAB count` a line."""
    for line in dump.splitlines():
        service, _, who = line.partition(b"\t")[0].partition(b"/")
        if service == b"imap":
            yield who.partition(b"/")[2].decode("utf-8", "replace")


def _dump(path: str) -> bytes:
    """All lines, up to the empty one. Raises `OSError`, or `ValueError` if it is no such answer."""
    deadline = time.monotonic() + PATIENCE
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(path)
        connection.sendall(_GREETING + _QUESTION)
        answer = bytearray()
        # Nobody connected: an empty line and nothing else.
        while answer != b"\n" and not answer.endswith(b"\n\n"):
            if time.monotonic() > deadline:
                raise TimeoutError
            octets = connection.recv(1 << 16)
            if not octets or len(answer) > _MOST:
                raise ValueError("not all of it came")
            answer += octets
    return bytes(answer)
