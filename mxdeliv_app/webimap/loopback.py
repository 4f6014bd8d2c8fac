"""A TLS connection to Dovecot or Postfix on loopback that names the web client's address.

The listeners are those of port 443 by ALPN: they take the PROXY protocol (version 1,
https://www.haproxy.org/download/1.8/doc/proxy-protocol.txt), and the packet filter lets only nginx and us
connect. So the limits of Dovecot and Postfix for an address hold for web clients, too.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

# Seconds for each answer. Dovecot answers a wrong password late (auth_failure_delay).
TIMEOUT = 60.0


class Server(NamedTuple):
    """Where a server listens, and the file with its certificate."""

    host: str
    port: int
    certificate: Path


def connect(server: Server, client: str) -> ssl.SSLSocket:
    """Connects for the web client at the IP address `client`. Raises `OSError`."""
    address = ipaddress.ip_address(client)
    # Both ends in one family.
    family, ours = ("TCP4", "127.0.0.1") if address.version == 4 else ("TCP6", "::1")
    plain = socket.create_connection((server.host, server.port), TIMEOUT)
    try:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        plain.sendall(f"PROXY {family} {address} {ours} 1024 {server.port}\r\n".encode("ascii"))
        return _trusting(server.certificate, server.certificate.stat().st_mtime_ns).wrap_socket(plain)
    except BaseException:
        plain.close()
        raise


@lru_cache(2)
def _trusting(certificate: Path, _changed: int) -> ssl.SSLContext:
    """Trusts this certificate, whoever signed it. A program of another user on the port lacks its key."""
    context = ssl.create_default_context(cafile=str(certificate))
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context
