"""Sessions of the admin pages, in the memory of this process.

A random cookie identifies a session; scripts can't read it, and other sites can't send it (RFC 6265bis,
4.1.2.7 and 4.1.3.1). Changes also need the session's token, which is only in its pages.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from mxdeliv_app.admin.passwords import Role

COOKIE = "__Secure-chatmail-admin"
IDLE = 3600.0  # seconds without a request
LONGEST = 12 * 3600.0  # seconds
MOST = 100  # of each role


@dataclass(slots=True)
class Session:
    """One session. `token`: for each form. `said`: the result of the last order, for the next page."""

    role: Role
    began: float
    seen: float
    token: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    said: str = ""

    @property
    def may_act(self) -> bool:
        """Whether the session may change anything."""
        return self.role == "privileged"

    def take_said(self) -> str:
        """Returns `said`, and clears it."""
        said, self.said = self.said, ""
        return said


class Sessions:
    """All sessions. Thread-safe. If a role has `MOST`, a new one replaces its least recently used one.

    So whoever has the read-only password can't end a session that may change things.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        # By the digest of the cookie: to look one up takes no longer the more of it is right.
        self._known: dict[bytes, Session] = {}

    def begin(self, role: Role) -> str:
        """Begins a session; returns its cookie."""
        cookie, now = secrets.token_urlsafe(32), self._clock()
        with self._lock:
            self._known = {key: one for key, one in self._known.items() if self._lives(one, now)}
            same = [key for key, one in self._known.items() if one.role == role]
            if len(same) >= MOST:
                del self._known[min(same, key=lambda key: self._known[key].seen)]
            self._known[_digest(cookie)] = Session(role, now, now)
        return cookie

    def find(self, cookie: str) -> Session | None:
        """The session of a cookie; None if it ended."""
        now = self._clock()
        with self._lock:
            found = self._known.get(_digest(cookie))
            if found is None or not self._lives(found, now):
                return None
            found.seen = now
            return found

    def end(self, cookie: str) -> None:
        """Deletes the session."""
        with self._lock:
            self._known.pop(_digest(cookie), None)

    def _lives(self, one: Session, now: float) -> bool:
        return now - one.seen < IDLE and now - one.began < LONGEST


def _digest(cookie: str) -> bytes:
    return hashlib.sha256(cookie.encode("utf-8", "surrogateescape")).digest()
