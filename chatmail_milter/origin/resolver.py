"""DNS as the milter asks it: the host's validating resolver, by a stream socket in the file system.

The milter has no network (`PrivateNetwork=` of its unit). `chatmail-resolver.socket` leads to unbound and to
nothing else; DNS over a stream is RFC 7766. Nothing is remembered here, as unbound does that.
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

# Seconds for one question, and for all that one message raises. Postfix waits 300 s for the answer to a
# message's end (milter_content_timeout), and a peer 10 min (RFC 5321, 4.5.3.2.6).
QUESTION_LIFETIME = 5.0
MESSAGE_LIFETIME = 10.0


class LookupFailedError(Exception):
    """No answer that could be used; asking later may help."""


class NoNameError(Exception):
    """The text can't be a domain name, so there is nothing to ask."""


class Deadline:
    """The time that is left for a message's questions."""

    def __init__(self, seconds: float = MESSAGE_LIFETIME) -> None:
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds for the next question. Raises `LookupFailedError` when there are none."""
        left = min(self._end - time.monotonic(), QUESTION_LIFETIME)
        if left <= 0:
            raise LookupFailedError("no time left")
        return left


class MilterResolver:
    """Asks the resolver at the socket `path`; safe for threads.

    All methods raise `LookupFailedError` and `NoNameError`; a name or record that isn't there is an empty
    answer.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    def texts(self, name: str, deadline: Deadline) -> list[bytes]:
        """The TXT records of `name`, the strings of each joined (RFC 6376, 3.6.2.2)."""
        found = self._ask(name, dns.rdatatype.TXT, deadline)
        return [b"".join(one.strings) for one in found or () if isinstance(one, dns.rdtypes.ANY.TXT.TXT)]

    def mail_hosts(self, domain: str, deadline: Deadline) -> list[str]:
        """The mail hosts (MX) of `domain`, the preferred first; a null MX (RFC 7505) names none."""
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
                # SERVFAIL is what a validating resolver says of forged records, too (RFC 4035, 5.5).
                raise LookupFailedError(dns.rcode.to_text(response.rcode()))
            # An alias (CNAME) is followed.
            return (
                response.resolve_chaining().answer if isinstance(response, dns.message.QueryMessage) else None
            )
        except (dns.exception.DNSException, OSError, EOFError) as error:
            raise LookupFailedError(type(error).__name__) from None
