"""A kept TLS connection to one target, to a checked address. Its users speak HTTP over it.

Dialling and TLS are here, and not in an HTTP library, so that addresses are checked, certificates verified
and TLS sessions resumed in one way. Another thread can cut an attempt at any point, because no library has a
timeout for a whole attempt.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl

from mxdeliv_app.https.target import Dial, Target
from mxdeliv_app.https.tls import Tls


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
