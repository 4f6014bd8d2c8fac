"""Port 465 sends no query before its greeting.

Nagle's algorithm (RFC 1122, 4.2.3.4) holds a second small packet until the client acknowledges the first.
"""

from __future__ import annotations

import socket
import ssl
from contextlib import ExitStack

from tests.chat import smtp
from tests.lab.host import LabHost

# Of one address: more than go to the first processes of a port (connection_limits_first).
CONNECTIONS = 8


def test_no_session_ticket_precedes_the_greeting(b: LabHost) -> None:
    with ExitStack() as kept:
        for _ in range(CONNECTIONS):
            plain = kept.enter_context(socket.create_connection((b.ip, 465), timeout=60))
            session = kept.enter_context(smtp.any_certificate().wrap_socket(plain))
            assert session.recv(512).startswith(b"220 ")
            assert session.version() == "TLSv1.3"
            assert not _has_ticket(session)


def test_a_ticket_would_be_seen(b: LabHost) -> None:
    # After STARTTLS it is the client who speaks first, so a ticket is in nobody's way.
    with smtp.peer(b.ip) as session:
        session.noop()
        assert isinstance(session.sock, ssl.SSLSocket)
        assert session.sock.version() == "TLSv1.3"
        assert _has_ticket(session.sock)


def _has_ticket(session: ssl.SSLSocket) -> bool:
    """Whether the server sent one by now (RFC 8446, 4.6.1)."""
    assert session.session is not None
    return session.session.has_ticket
