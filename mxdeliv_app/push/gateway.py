"""One POST of one token to the gateway, and what its answer means.

The public gateway, and those made like it, take the token as the body and answer 2xx (told, or told just now
in any case), 410 (no device has this token any more), or something else when they could not.
https://github.com/chatmail/notifiers/blob/main/src/server.rs

Connections are kept, TLS is verified by the system's authorities, no redirect is followed, and an attempt is
over after `timeout` seconds, whatever the gateway does meanwhile. The operator named it, so no address is
forbidden here.
"""

from __future__ import annotations

import socket
import threading
import time
from enum import Enum
from urllib.parse import urlsplit

import requests
import urllib3.exceptions

from mxdeliv_app.https.connection import Connection
from mxdeliv_app.https.session import GuardedSession, lost
from mxdeliv_app.https.target import Target
from mxdeliv_app.https.tls import Tls

_KEEP_IDLE = 30.0  # seconds; web servers close a connection after 60 and more
_GOOD_BODY = 1 << 12  # octets; a connection with more to read is not kept


class NoticeOutcome(Enum):
    """What became of a notice."""

    TOLD = "told"
    GONE = "gone"
    FAILED = "failed"


class Gateway:
    """A connection to the gateway; for one thread at a time."""

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
        """What became of it, and the reason, a slug: `200`, `tls`, `timeout`, …"""
        deadline = time.monotonic() + self._timeout
        kept = self._open is not None and time.monotonic() - self._used < _KEEP_IDLE
        outcome, reason, fresh = self._attempt(token, deadline, kept)
        if reason == "network" and not fresh:
            # The gateway had closed the kept connection. To be told twice does no harm.
            outcome, reason, _ = self._attempt(token, deadline, False)
        return outcome, reason

    def close(self) -> None:
        """Close the connection; it is opened again when it is needed."""
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
        # The status has said it all. What follows matters only to the next request on this connection.
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
