"""Sends to a server that may answer and hang up before it has read all."""

from __future__ import annotations

import ssl
from contextlib import suppress

PIECE = 1024


def heard(peer: ssl.SSLSocket) -> bytes:
    """What came so far of the answer: not TLS's own messages."""
    patience = peer.gettimeout()
    peer.setblocking(False)
    try:
        return peer.recv(4096)
    except ssl.SSLWantReadError:
        return b""
    finally:
        peer.settimeout(patience)


def send(peer: ssl.SSLSocket, octets: bytes) -> bytes:
    """Sends `octets` until an answer comes, or until the server hangs up; returns what came of the answer.

    What is written after the server has hung up makes TLS forget the answer, so it is looked for in between.
    """
    with suppress(OSError):
        for start in range(0, len(octets), PIECE):
            peer.sendall(octets[start : start + PIECE])
            if said := heard(peer):
                return said
    return b""
