"""Checks a relay as clients and peers see it, from another host: ports, certificates, DNS, `/mxdeliv`.

No configuration is read. A mail domain is all that is known, so the DKIM record is not checked: only the
relay knows its selector and key. Nothing is delivered: the one POST has no recipients (docs/wire.md, 2.1).
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from socket import socket

from dns.name import from_text
from dns.rdataclass import IN
from dns.rdatatype import MX, TXT, RdataType
from dns.rrset import RRset

from chatmail_milter import codes
from chatmail_milter.address import ip_literal, trusts_any_certificate
from chatmail_milter.doctor import (
    Finding,
    FindingState,
    certificates,
    good,
    network,
    optional_records,
    ports,
    records,
    unknown,
)
from chatmail_milter.doctor.certificates import Look, ServedCertificate
from chatmail_milter.doctor.records import Lookup

MXDELIV = "mxdeliv"
_LONGEST = 512  # octets of a first line (RFC 5321, 4.5.3.1.5)
_AT_ONCE = 16  # connections
# What a host without IPv6 says of an address of it.
_NO_WAY = (errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
_PUBLISH = "publish the records that `chatmailctl dns` lists on the relay"
_HEAD = b"HEAD / HTTP/1.0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Service:
    """What a port serves. `begins`: the begin of its first line, after the client has sent `asked`."""

    port: int
    begins: bytes
    asked: bytes = b""
    tls: bool = False
    alpn: str = ""

    @property
    def name(self) -> str:
        """The port, with its protocol where several share one."""
        return f"{self.port} ({self.alpn})" if self.alpn else str(self.port)


SMTP = Service(25, b"220")
SERVICES = (
    Service(80, b"HTTP/", _HEAD),
    Service(143, b"* OK"),
    Service(443, b"HTTP/", _HEAD, tls=True),
    Service(443, b"* OK", tls=True, alpn="imap"),
    Service(443, b"220", tls=True, alpn="smtp"),
    Service(465, b"220", tls=True),
    Service(587, b"220"),
    Service(993, b"* OK", tls=True),
)

# The addresses of a host. Raises `OSError`.
Addresses = Callable[[str], Sequence[str]]
# The first line of a service at an address, with a name for SNI. Raises `OSError`, `ValueError`.
Greet = Callable[[Service, str, str], bytes]
# Status and body of the answer of a host to a POST without recipients. Raises `OSError`, `ValueError`.
Post = Callable[[str], tuple[int, bytes]]


def addresses(host: str) -> list[str]:
    """As apps resolve it. Raises `OSError`."""
    return network.addresses(_bare(host))


def exchanges(domain: str, look: Lookup = records.authoritative) -> list[str]:
    """The hosts of the MX records, without them the domain itself (RFC 5321, 5.1)."""
    texts = None if ip_literal(domain) else look(_rrset(domain, MX))
    # A null MX (RFC 7505) names no host.
    return sorted(filter(None, (text.split()[-1].rstrip(".") for text in texts or ()))) or [domain]


def greet(service: Service, address: str, name: str) -> bytes:
    """Connects. Certificates are checked by themselves. Raises `OSError`, `ValueError`."""
    if not service.tls:
        with network.connected(address, service.port) as plain:
            return _first_line(plain, service.asked)
    context = certificates.trusting()
    if service.alpn:
        context.set_alpn_protocols([service.alpn])
    with network.secured(address, service.port, _bare(name), context) as tls:
        return _first_line(tls, service.asked)


def _first_line(connection: socket, asked: bytes) -> bytes:
    connection.sendall(asked)
    found = b""
    while b"\n" not in found and len(found) < _LONGEST and (octets := connection.recv(_LONGEST)):
        found += octets
    return found.partition(b"\r\n")[0]


def post(host: str) -> tuple[int, bytes]:
    """Verifies the certificate as peers do. Raises `OSError`, `ValueError`."""
    context = certificates.trusting() if trusts_any_certificate(host) else None
    return network.fetch(_bare(host), "/mxdeliv", _LONGEST, post=b"", context=context)


def check_ports(
    domain: str, exchanges: Sequence[str], addresses: Addresses = addresses, greet: Greet = greet
) -> Iterator[Finding]:
    """Checks each service at each address: at one of IPv6, too, where a client would only be slow."""
    wanted = list[tuple[Service, str, str]]()
    for name, services in [(domain, SERVICES), *((exchange, (SMTP,)) for exchange in exchanges)]:
        try:
            found = addresses(name)
        except OSError as error:
            yield Finding(
                ports.SUBJECT, name, FindingState.BAD, f"has no address: {error}", "nobody finds the relay",
                _PUBLISH,
            )  # fmt: skip
            continue
        wanted += [(service, address, name) for address in found for service in services]
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        yield from threads.map(partial(_port, greet), wanted)


def _port(greet: Greet, one: tuple[Service, str, str]) -> Finding:
    service, address, name = one
    what = f"{address} {service.name}"
    try:
        line = greet(service, address, name)
    except (OSError, ValueError) as error:
        number, words = getattr(error, "errno", None), getattr(error, "strerror", None) or str(error)
        if number in _NO_WAY:
            return unknown(ports.SUBJECT, what, f"this host has no way to it: {words}")
        found = f"does not answer: {words}"
    else:
        if line.startswith(service.begins):
            return good(ports.SUBJECT, what, "answers")
        found = f"answers {line.decode('ascii', 'replace')!r}"
    if service.alpn:
        # Beside other web sites, the port may be theirs.
        return Finding(
            ports.SUBJECT, what, FindingState.SOON, found,
            "apps in networks that pass only port 443 can't connect",
            "run the playbook on the relay; beside other web sites, see docs/install-by-hand.md",
        )  # fmt: skip
    return Finding(
        ports.SUBJECT, what, FindingState.BAD, found, ports.WANTED[service.port][1],
        f"allow inbound TCP port {service.port} in the relay's packet filter and at its provider;"
        " on the relay: chatmailctl doctor --only services --only ports",
    )  # fmt: skip


def _look(name: str, port: int) -> ServedCertificate:
    return certificates.look(name, port, name)


def check_certificates(domain: str, exchanges: Sequence[str], look: Look = _look) -> Iterator[Finding]:
    """Checks the certificates of all ports. Those that don't answer are `check_ports`' findings."""
    found = certificates.check([domain], exchanges, look=look)
    return (one for one in found if one.state is not FindingState.UNKNOWN)


def check_records(
    domain: str, exchanges: Sequence[str], look: Lookup = records.authoritative
) -> Iterator[Finding]:
    """Checks that the records are published which every relay needs, and that optional ones fit."""
    if ip_literal(domain):
        return
    for name, kind, begin, why in (
        (domain, MX, "", "servers that need an MX record don't deliver"),
        (domain, TXT, "v=spf1", "peers may refuse mail from this relay"),
        (f"_dmarc.{domain}", TXT, "v=DMARC1", "peers may refuse mail from this relay"),
    ):
        what = f"{name} {begin.removeprefix('v=') or kind.name}"
        texts = look(_rrset(name, kind))
        if texts is None:
            yield unknown(records.SUBJECT, what, "DNS does not answer")
        elif any(text.startswith(begin) for text in texts):
            yield good(records.SUBJECT, what, "is published")
        else:
            yield Finding(records.SUBJECT, what, FindingState.BAD, "is missing", why, _PUBLISH)
    for exchange in exchanges:
        yield from optional_records.check(
            domain, exchange, look, lambda name: certificates.shown(name, network.SMTP, name)
        )
        with suppress(OSError):  # `check_ports` says that it has no address
            yield from records.check_reverse(exchange, addresses(exchange), records.reverse)


def check_mxdeliv(hosts: Sequence[str], post: Post = post) -> Iterator[Finding]:
    """Checks that each host takes mail by HTTPS, as this relay software answers (docs/wire.md, 2.4)."""
    for host in dict.fromkeys(hosts):
        try:
            status, body = post(host)
        except (OSError, ValueError) as error:
            found = f"does not answer: {error}"
        else:
            line = body.decode("ascii", "replace").partition("\n")[0]
            if status == 400 and line.startswith(codes.BAD_SYNTAX.reply):
                yield good(MXDELIV, host, "answers as this relay software does")
                continue
            found = f"answers {status} {line}"
        yield Finding(
            MXDELIV, host, FindingState.BAD, found, "peers can't deliver by HTTPS",
            "on the relay: chatmailctl doctor --only services",
        )  # fmt: skip


def _bare(host: str) -> str:
    return str(ip_literal(host) or host)


def _rrset(name: str, kind: RdataType) -> RRset:
    return RRset(from_text(name), IN, kind)
