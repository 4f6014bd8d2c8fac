"""Sends by TLS to a server that may answer and hang up before it has read all."""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress

from tests.chat.smtp import any_certificate


def exchange(plain: socket.socket, domain: str, octets: bytes) -> bytes:
    """Sends `octets` until the server hangs up or has all, and returns what it answered until it hung up.

    OpenSSL has no socket here: where it has one, it forgets what came once something cannot be sent.
    """
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = any_certificate().wrap_bio(incoming, outgoing, server_hostname=domain)
    while not _shakes_hands(session):
        plain.sendall(outgoing.read())
        incoming.write(plain.recv(65536))
    session.write(octets)
    with suppress(OSError):
        plain.sendall(outgoing.read())
    with suppress(OSError):
        while came := plain.recv(65536):
            incoming.write(came)
    incoming.write_eof()
    answer = b""
    # Without TLS's own end, too: what came is what was answered.
    with suppress(ssl.SSLError):
        while more := session.read():
            answer += more
    return answer


def _shakes_hands(session: ssl.SSLObject) -> bool:
    """Whether it has done so; else something is to be sent, and something to be read."""
    try:
        session.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True
