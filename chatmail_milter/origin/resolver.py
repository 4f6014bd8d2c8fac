"""The milter's DNS client: queries the host's validating resolver over a Unix stream socket (RFC 7766).

The milter has no network (`PrivateNetwork=` in its unit); `chatmail-resolver.socket` forwards to unbound
only. No cache here: unbound has one.
"""

from __future__ import annotations

import socket
import time
from ipaddress import IPv4Address, IPv6Address, ip_address

import dns.exception
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdatatype
import dns.rdtypes.ANY.MX
import dns.rdtypes.ANY.TXT
import dns.rrset

# Seconds for one query, and for all queries of one message. At the end of a message Postfix waits 300 s for
# the milter (milter_content_timeout), and the peer waits 10 min for Postfix (RFC 5321, 4.5.3.2.6).
QUESTION_LIFETIME = 5.0
MESSAGE_LIFETIME = 10.0


class LookupFailedError(Exception):
    """The query failed for now: no response, or none that is usable."""


class NoNameError(Exception):
    """The text is not a valid domain name, so nothing was queried."""


class Deadline:
    """The time limit for all queries of one message."""

    def __init__(self, seconds: float = MESSAGE_LIFETIME) -> None:
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds for the next query. Raises `LookupFailedError` if no time is left."""
        left = min(self._end - time.monotonic(), QUESTION_LIFETIME)
        if left <= 0:
            raise LookupFailedError("no time left")
        return left


class MilterResolver:
    """Queries the resolver at the Unix socket `path`. Thread-safe.

    All methods raise `LookupFailedError` and `NoNameError`, and return an empty list for a name or record
    that does not exist.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    def texts(self, name: str, deadline: Deadline) -> list[bytes]:
        """The TXT records of `name`, the strings of each joined (RFC 6376, 3.6.2.2)."""
        found = self._ask(name, dns.rdatatype.TXT, deadline)
        return [b"".join(one.strings) for one in found or () if isinstance(one, dns.rdtypes.ANY.TXT.TXT)]

    def mail_hosts(self, domain: str, deadline: Deadline) -> list[str]:
        """The MX hosts of `domain`, by preference; none for a null MX (RFC 7505)."""
        found = self._ask(domain, dns.rdatatype.MX, deadline)
        records = [one for one in found or () if isinstance(one, dns.rdtypes.ANY.MX.MX)]
        hosts = [one.exchange.to_text() for one in sorted(records, key=lambda one: one.preference)]
        return [host for host in hosts if host != "."]

    def addresses(self, host: str, version: int, deadline: Deadline) -> list[IPv4Address | IPv6Address]:
        """The addresses of `host`, of IP version 4 or 6."""
        kind = dns.rdatatype.A if version == 4 else dns.rdatatype.AAAA
        return [ip_address(one.to_text()) for one in self._ask(host, kind, deadline) or ()]

    def _ask(self, name: str, kind: dns.rdatatype.RdataType, deadline: Deadline) -> dns.rrset.RRset | None:
        try:
            query = dns.message.make_query(dns.name.from_text(name), kind)
        except (dns.exception.DNSException, UnicodeError):
            raise NoNameError from None
        left = deadline.left()
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(left)
                connection.connect(self._path)
                connection.setblocking(False)
                expiration = time.time() + left
                dns.query.send_tcp(connection, query, expiration)
                response, _ = dns.query.receive_tcp(connection, expiration)
            if not query.is_response(response):
                raise LookupFailedError("not the answer")
            if response.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
                # Among them SERVFAIL, also the response for forged records (RFC 4035, 5.5).
                raise LookupFailedError(dns.rcode.to_text(response.rcode()))
            # Follows aliases (CNAME) within the response.
            return (
                response.resolve_chaining().answer if isinstance(response, dns.message.QueryMessage) else None
            )
        except (dns.exception.DNSException, OSError, EOFError) as error:
            raise LookupFailedError(type(error).__name__) from None
