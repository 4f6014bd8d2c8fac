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
from http.client import HTTPException
from urllib.parse import urlsplit

from mxdeliv_app.https.client import Client
from mxdeliv_app.https.connection import Connection
from mxdeliv_app.https.target import Target
from mxdeliv_app.https.tls import Tls

_KEEP_IDLE = 30.0  # seconds; web servers close a connection after 60 and more


class NoticeOutcome(Enum):
    """The result of a notification. `GONE`: the token is no longer valid."""

    TOLD = "told"
    GONE = "gone"
    FAILED = "failed"


class Gateway:
    """A client with one connection to the gateway. Not thread-safe."""

    def __init__(self, url: str, user_agent: str, tls: Tls, timeout: float) -> None:
        parts = urlsplit(url)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        target = Target(parts.hostname or "", parts.port or 443, path)
        self._client = Client(Connection(target, self._dial, tls))
        self._user_agent = user_agent
        self._timeout = timeout
        self._used = 0.0

    def tell(self, token: str) -> tuple[NoticeOutcome, str]:
        """Posts a token. Returns the result and its reason, a slug: `200`, `tls`, `timeout`, …"""
        deadline = time.monotonic() + self._timeout
        if time.monotonic() - self._used >= _KEEP_IDLE:
            self.close()
        outcome, reason = self._attempt(token, deadline)
        if reason == "network" and not self._client.guarded.fresh:
            # The gateway had probably closed the kept connection. A second notification would do no harm.
            outcome, reason = self._attempt(token, deadline)
        return outcome, reason

    def close(self) -> None:
        """Closes the connection. The next POST opens a new one."""
        self._client.close()

    def _attempt(self, token: str, deadline: float) -> tuple[NoticeOutcome, str]:
        guarded = self._client.guarded
        guarded.begin(deadline)
        cutter = threading.Timer(max(0.0, deadline - time.monotonic()), guarded.cut)
        cutter.daemon = True
        cutter.start()
        try:
            status = self._post(token)
        except (HTTPException, OSError, ValueError) as error:
            self.close()
            return NoticeOutcome.FAILED, guarded.reason(error)
        finally:
            cutter.cancel()
            self._used = time.monotonic()
        return _meaning(status), str(status)

    def _post(self, token: str) -> int:
        fields = (
            ("Content-Type", "text/plain"),
            ("Accept-Encoding", "identity"),
            ("User-Agent", self._user_agent),
        )
        keep = False
        response = self._client.post(fields, token.encode(), self._timeout, self._timeout)
        # Only the status matters. The body is read so that the connection can be used again.
        try:
            _, cut = self._client.read(response)
            # After an interim answer another one may still come.
            whole = cut is None and response.isclosed() and response.status >= 200
            keep = whole and not response.will_close
        except (HTTPException, OSError):
            pass
        finally:
            response.close()
        if not keep:
            self.close()
        return response.status

    def _dial(self, target: Target) -> socket.socket:
        found = socket.create_connection((target.host, target.port), self._timeout)
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return found


def _meaning(status: int) -> NoticeOutcome:
    if 200 <= status < 300:
        return NoticeOutcome.TOLD
    return NoticeOutcome.GONE if status == 410 else NoticeOutcome.FAILED
