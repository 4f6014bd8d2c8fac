"""HTTP client for the push gateway: posts one device token, and interprets the answer.

The body of the POST is the token. The gateway answers 2xx (notified, or notified a moment before), 410 (the
token is no longer valid), or another status if it failed.
https://github.com/chatmail/notifiers/blob/main/src/server.rs

Connections are kept open, TLS is verified with the system's CAs, redirects are not followed, and each attempt
ends after `timeout` seconds, whatever the gateway does. Any IP address is allowed, since the operator chose
the gateway.
"""

from __future__ import annotations

import socket
import threading
import time
from enum import Enum
from urllib.parse import urlsplit

import requests
import urllib3.exceptions

from mxdeliv_app.https.connection import Connection, Target, Tls
from mxdeliv_app.https.session import GuardedSession, lost

_KEEP_IDLE = 30.0  # seconds; web servers close a connection after 60 and more
_GOOD_BODY = 1 << 12  # octets; a connection with a larger answer is closed


class NoticeOutcome(Enum):
    """The result of a notification. `GONE`: the token is no longer valid."""

    TOLD = "told"
    GONE = "gone"
    FAILED = "failed"


class PushGateway:
    """A client with one connection to the gateway. Not thread-safe."""

    def __init__(self, url: str, user_agent: str, tls: Tls, timeout: float) -> None:
        parts = urlsplit(url)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._target = Target(parts.hostname or "", parts.port or 443, path)
        self._user_agent = user_agent
        self._tls = tls
        self._timeout = timeout
        self._open: tuple[Connection, GuardedSession] | None = None
        self._used = 0.0

    def tell(self, token: str) -> tuple[NoticeOutcome, str]:
        """Posts a token. Returns the result and its reason, a slug: `200`, `tls`, `timeout`, …"""
        deadline = time.monotonic() + self._timeout
        kept = self._open is not None and time.monotonic() - self._used < _KEEP_IDLE
        outcome, reason, fresh = self._attempt(token, deadline, kept)
        if reason == "network" and not fresh:
            # The gateway had probably closed the kept connection. A second notification would do no harm.
            outcome, reason, _ = self._attempt(token, deadline, False)
        return outcome, reason

    def close(self) -> None:
        """Closes the connection. The next POST opens a new one."""
        if self._open is not None:
            self._open[1].close()
            self._open = None

    def _attempt(self, token: str, deadline: float, kept: bool) -> tuple[NoticeOutcome, str, bool]:
        if not kept:
            self.close()
        if self._open is None:
            made = Connection(self._target, self._dial, self._tls)
            self._open = made, GuardedSession(made)
        connection, session = self._open
        connection.begin(deadline)
        cutter = threading.Timer(max(0.0, deadline - time.monotonic()), connection.cut)
        cutter.daemon = True
        cutter.start()
        try:
            status = self._post(connection, session, token)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            self.close()
            return NoticeOutcome.FAILED, connection.reason(lost(error)), connection.fresh
        finally:
            cutter.cancel()
            self._used = time.monotonic()
        return _meaning(status), str(status), connection.fresh

    def _post(self, connection: Connection, session: GuardedSession, token: str) -> int:
        request = requests.Request(
            "POST",
            self._target.url,
            data=token.encode(),
            headers={
                "Content-Type": "text/plain",
                "Accept-Encoding": "identity",
                "User-Agent": self._user_agent,
            },
        )
        response = session.send(
            request.prepare(),
            timeout=self._timeout,
            stream=True,
            allow_redirects=False,
            proxies={},
        )
        connection.answered()
        # Only the status matters. The body is read so that the connection can be used again.
        try:
            whole = len(response.raw.read(_GOOD_BODY)) < _GOOD_BODY and response.status_code >= 200
        except (urllib3.exceptions.HTTPError, OSError):
            whole = False
        if not whole:
            self.close()
        return response.status_code

    def _dial(self, target: Target) -> socket.socket:
        found = socket.create_connection((target.host, target.port), self._timeout)
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return found


def _meaning(status: int) -> NoticeOutcome:
    if 200 <= status < 300:
        return NoticeOutcome.TOLD
    return NoticeOutcome.GONE if status == 410 else NoticeOutcome.FAILED
