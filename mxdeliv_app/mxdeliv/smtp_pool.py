"""A pool of SMTP connections to a port of Postfix.

A new connection costs more CPU than a message: TCP, two greetings, three milter sessions. So a connection is
kept after a message for the next one, preferably of the same peer, which needs no XCLIENT then.

Only connections on which a message was accepted are kept: then Postfix has reset the error count, and no
state of the message is left. Thread-safe. Each process needs its own pool.
"""

from __future__ import annotations

import threading

from mxdeliv_app.mxdeliv.smtp_client import IPAddress, SmtpClient

# Seconds after which a connection is closed, however busy: a changed configuration of Postfix applies to new
# connections only. Less than smtpd's timeout for an idle client (300 s).
MOST_SECONDS = 60.0


class ConnectionPool:
    """Open connections to one port, at most as many as there were messages at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[SmtpClient] = []  # least recently used first

    def acquire(self, peer: IPAddress) -> SmtpClient | None:
        """Takes a usable connection out of the pool; None if there is none.

        Prefers one last used for `peer`, else the least recently used: its peer is the least likely to return
        soon.
        """
        with self._lock:
            self._waiting, unusable = _sorted_out(self._waiting)
            own = (one for one in reversed(self._waiting) if one.peer == peer)
            found = next(own, self._waiting[0] if self._waiting else None)
            if found is not None:
                self._waiting.remove(found)
        for one in unusable:
            one.quit()
            one.close()
        return found

    def release(self, conversation: SmtpClient) -> None:
        """Returns a connection to the pool, after its message was accepted."""
        with self._lock:
            self._waiting.append(conversation)


def _sorted_out(waiting: list[SmtpClient]) -> tuple[list[SmtpClient], list[SmtpClient]]:
    """Splits connections into usable ones, and those that are too old or closed by Postfix."""
    usable: list[SmtpClient] = []
    unusable: list[SmtpClient] = []
    for one in waiting:
        (usable if one.age < MOST_SECONDS and one.quiet else unusable).append(one)
    return usable, unusable
