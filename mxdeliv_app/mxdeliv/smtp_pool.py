"""Conversations with a port of Postfix that are kept open from one message to the next.

A new one costs more than the message: a connection, two greetings, three milter sessions. So one that has
just taken a message waits here for the next, best of the same peer, which then has nothing to introduce.

Only one that ended well is kept: Postfix has then forgotten the session's errors, and nothing of an earlier
message is left in it. Safe for any number of threads; a process forked later must make its own.
"""

from __future__ import annotations

import threading

from mxdeliv_app.mxdeliv.smtp_client import Conversation, IPAddress

# Postfix reads its configuration anew for new connections only: so none gets old, however busy. It is also
# less than smtpd's patience with a silent client (300 s).
MOST_SECONDS = 60.0


class ConnectionPool:
    """Open conversations with one port; no more of them than there were messages at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[Conversation] = []  # who waits longest is first

    def acquire(self, peer: IPAddress) -> Conversation | None:
        """One that can be used at once, the caller's alone from now on; `peer`'s own if there is one.

        Else the one that waits longest: the peer it was used for is the least likely to come back soon.
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

    def release(self, conversation: Conversation) -> None:
        """Keep one whose message was taken."""
        with self._lock:
            self._waiting.append(conversation)


def _sorted_out(waiting: list[Conversation]) -> tuple[list[Conversation], list[Conversation]]:
    """Those that can be used, and those that can't: too old, or Postfix has hung up."""
    usable: list[Conversation] = []
    unusable: list[Conversation] = []
    for one in waiting:
        (usable if one.age < MOST_SECONDS and one.quiet else unusable).append(one)
    return usable, unusable
