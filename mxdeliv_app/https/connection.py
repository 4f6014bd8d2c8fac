"""A kept TLS connection to one HTTPS target, to a checked address. Its users speak HTTP over it.

Dialling and TLS are here, and not in an HTTP library, so that addresses are checked, certificates verified
and TLS sessions resumed in one way. Another thread can cut an attempt at any point, because no library has a
timeout for a whole attempt.

A TLS session is resumed (RFC 8446, 2.2) only for the same target and TLS context, so a session that was
verified for one name is never used for another. Sessions are kept in memory, for at most `SESSION_LIFE`; then
the certificate is verified again.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from mxdeliv_app.https.allowed_addresses import IPAddress
from mxdeliv_app.mxdeliv import wire

SESSION_LIFE = 3600.0  # seconds
_SESSIONS = 2000  # targets; the one used longest ago is forgotten


@dataclass(frozen=True, slots=True)
class Target:
    """A URL to POST to. `host`: in URL, SNI and certificate. `pinned`: IP address to connect to instead."""

    host: str
    port: int = 443
    path: str = wire.PATH
    pinned: IPAddress | None = None
    verify: bool = True

    @property
    def authority(self) -> str:
        """`host` or `host:port`, for the Host field."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == 443 else f"{host}:{self.port}"

    @property
    def key(self) -> str:
        """The key in the database: `host`, with port, path and pinned address unless they are the default."""
        path = "" if self.path == wire.PATH else self.path
        return f"{self.authority}{path}" + (f"@{self.pinned}" if self.pinned is not None else "")

    @property
    def url(self) -> str:
        """The URL."""
        return f"https://{self.authority}{self.path}"


# Connects to a target, without TLS.
Dial = Callable[[Target], socket.socket]


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


class Connection:
    """One connection, opened when first needed, and again after the peer closed it."""

    def __init__(self, target: Target, dial: Dial, tls: Tls) -> None:
        self.target = target
        self.deadline = 0.0
        self.fresh = True  # opened for this very attempt
        self._dial = dial
        self._tls = tls
        self._stage = "connect"
        self._cut = False
        self._opened: ssl.SSLSocket | None = None  # not remembered yet
        self._handle: socket.socket | None = None

    def begin(self, deadline: float) -> None:
        """Begins an attempt that must end by `deadline` (monotonic)."""
        self.deadline = deadline
        self.fresh = False
        self._cut = False

    def open(self) -> ssl.SSLSocket:
        """Connects, with TLS. The caller must close the returned socket."""
        self.drop()
        self.fresh = True
        self._stage = "connect"
        plain = self._dial(self.target)
        # TLS takes the socket over; a second descriptor of it still cuts it, whoever holds the first.
        self._handle = plain.dup()
        self._stage = "tls"
        if self._cut:
            self.cut()
        self._opened = tls = self._tls.wrap(plain, self.target)
        self._stage = "exchange"
        return tls

    def answered(self) -> None:
        """Notes that the header of an answer arrived."""
        if self._opened is not None:
            self._tls.remember(self.target, self._opened)
            self._opened = None

    def cut(self) -> None:
        """Ends the current attempt, from any thread."""
        self._cut = True
        handle = self._handle
        if handle is not None:
            with contextlib.suppress(OSError):  # closed by its peer or its own thread meanwhile
                handle.shutdown(socket.SHUT_RDWR)

    def drop(self) -> None:
        """Closes the second descriptor. The owner of the first one closes it after reading the answer."""
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.close()

    def reason(self, error: BaseException) -> str:
        """The slug for an attempt that ended with `error`, from socket, TLS or HTTP."""
        timed_out = self._cut or isinstance(error, TimeoutError)
        if self._stage != "exchange":
            return f"{self._stage}-timeout" if timed_out else self._stage
        if timed_out:
            return "timeout"
        return "network" if isinstance(error, OSError) else "protocol"


def must_be_replaced(kept: socket.socket) -> bool:
    """Whether a kept connection can't be used again: it is closed, or the peer sent unexpected octets."""
    # OpenSSL may hold the rest of a record, of which the descriptor says nothing.
    if isinstance(kept, ssl.SSLSocket) and kept.pending():
        return True
    poll = select.poll()
    poll.register(kept, select.POLLIN)
    return bool(poll.poll(0))


def _context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
