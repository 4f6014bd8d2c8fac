"""Finds the users with a connected IMAP client, hibernated ones included, by Dovecot's anvil process.

Anvil can only list all connections. So concurrent callers share one answer, and there is never more than one
request at a time. Answers are not cached: a client that disconnected a moment ago needs a push notification.

Dovecot 2.3 says nothing before it is asked, and 2.4 speaks another version of the protocol. So the first
question is in 2.3's, and if 2.4 refuses it, all others are in its own. (Dovecot logs the refusal, once.)
https://github.com/dovecot/core/blob/release-2.3.19/src/anvil/anvil-connection.c, and release-2.4.1
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Iterable

_QUESTION = b"VERSION\tanvil\t1\t0\nCONNECT-DUMP\n"
# The empty line: a client that takes no orders.
_QUESTION_OF_2_4 = b"VERSION\tanvil-client\t2\t0\n\nCONNECT-DUMP\n"
_GREETING_OF_2_4 = b"VERSION\tanvil-server\t2\t"
# Hibernated clients have a service of their own in 2.4.
_SERVICES_OF_2_4 = (b"imap", b"imap-hibernate")
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
        self._question = _QUESTION

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
            connected = self._users()
        except (OSError, ValueError) as error:
            _log.warning("event=connections-unknown error=%s", type(error).__name__)
            connected = frozenset()
        finally:
            self._changed.acquire()
            self._done += 1
            self._changed.notify_all()
        self._connected = connected

    def _users(self) -> frozenset[str]:
        try:
            return frozenset(users(_dump(self._path, self._question)))
        except NewerAnvilError:
            self._question = _QUESTION_OF_2_4
            return frozenset(users(_dump(self._path, self._question)))


class NewerAnvilError(ValueError):
    """It speaks 2.4's protocol, and was asked in 2.3's."""


def users(dump: bytes) -> Iterable[str]:
    """The users in anvil's answer.

    Its lines are `imap/IP/user TAB pid TAB count`; 2.4: after a greeting, `pid TAB user TAB service TAB …`.
    """
    greeting, _, rest = dump.partition(b"\n")
    if greeting.startswith(_GREETING_OF_2_4):
        for line in rest.splitlines():
            fields = line.split(b"\t")
            if len(fields) > 2 and fields[2] in _SERVICES_OF_2_4:
                yield fields[1].decode("utf-8", "replace")
        return
    for line in dump.splitlines():
        service, _, who = line.partition(b"\t")[0].partition(b"/")
        if service == b"imap":
            yield who.partition(b"/")[2].decode("utf-8", "replace")


def _is_whole(answer: bytes | bytearray) -> bool:
    """Whether it ends with the empty line. (2.4 has another one, after its greeting.)"""
    if answer.startswith(_GREETING_OF_2_4):
        return answer.count(b"\n") > 2 and answer.endswith(b"\n\n")
    # Anvil answers with a single empty line if no client is connected.
    return answer == b"\n" or answer.endswith(b"\n\n")


def _dump(path: str, question: bytes) -> bytes:
    """Anvil's answer, up to the empty line. Raises `OSError`, or `ValueError` if it is incomplete."""
    deadline = time.monotonic() + QUERY_TIMEOUT
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(QUERY_TIMEOUT)
        connection.connect(path)
        connection.sendall(question)
        answer = bytearray()
        while not _is_whole(answer):
            if time.monotonic() > deadline:
                raise TimeoutError
            try:
                octets = connection.recv(1 << 16)
            except ConnectionResetError:
                # Closed before it had read all of the question.
                octets = b""
            if not octets and answer.startswith(_GREETING_OF_2_4) and question == _QUESTION:
                raise NewerAnvilError
            if not octets or len(answer) > _MOST:
                raise ValueError("not all of it came")
            answer += octets
    return bytes(answer)
