"""TLS with peers: verifies certificates where required, and resumes sessions (RFC 8446, 2.2).

A session belongs to one target and one TLS context, so a session that was verified for one name is never used
for another. Sessions are kept in memory, for at most `SESSION_LIFE`; then the certificate is verified again.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections import OrderedDict

from mxdeliv_app.https.target import Target

SESSION_LIFE = 3600.0  # seconds
_SESSIONS = 2000  # targets; the one used longest ago is forgotten


class Tls:
    """TLS contexts and sessions. Thread-safe."""

    def __init__(self) -> None:
        self._verifying = _context()
        self._trusting = _context()
        self._trusting.check_hostname = False
        self._trusting.verify_mode = ssl.CERT_NONE
        self._lock = threading.Lock()
        self._sessions: OrderedDict[Target, tuple[ssl.SSLSession, float]] = OrderedDict()

    def wrap(self, plain: socket.socket, target: Target) -> ssl.SSLSocket:
        """Starts TLS with `target` over the socket `plain`, and owns it from then on. Raises `OSError`."""
        context = self._verifying if target.verify else self._trusting
        session = self._session(target)
        try:
            # An end without TLS's own goodbye is told apart: an answer may have been cut off.
            return context.wrap_socket(
                plain, server_hostname=target.host, session=session, suppress_ragged_eofs=False
            )
        except OSError:
            # Were it the session that the peer can't take, the next handshake must be a whole one.
            self._forget(target)
            plain.close()
            raise

    def remember(self, target: Target, tls: ssl.SSLSocket) -> None:
        """Stores the session of `tls`. TLS 1.3 has none before the first answer."""
        session = tls.session
        if session is None or not (session.has_ticket or session.id):
            return
        with self._lock:
            # Some peers take a ticket only once, so the newest is kept, but it is as old as the verification.
            made = self._sessions[target][1] if tls.session_reused and target in self._sessions else None
            self._sessions[target] = (session, time.monotonic() if made is None else made)
            self._sessions.move_to_end(target)
            while len(self._sessions) > _SESSIONS:
                self._sessions.popitem(last=False)

    def _session(self, target: Target) -> ssl.SSLSession | None:
        with self._lock:
            session, made = self._sessions.get(target, (None, 0.0))
            if session is None:
                return None
            if time.monotonic() - made > SESSION_LIFE:
                del self._sessions[target]
                return None
            self._sessions.move_to_end(target)
            return session

    def _forget(self, target: Target) -> None:
        with self._lock:
            self._sessions.pop(target, None)


def _context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
