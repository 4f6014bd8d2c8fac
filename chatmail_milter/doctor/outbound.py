"""Checks that this host can connect to other servers on the ports of HTTPS and SMTP.

Many providers block outbound port 25. The checks connect only to hosts of peers that took mail, or of domains
that the operator names, so that nobody else learns of this relay, and close each connection at once. One
connection that succeeds is enough, because other hosts may be down.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from dns.rdatatype import MX

from chatmail_milter import address
from chatmail_milter.doctor import Finding, FindingState, good
from chatmail_milter.doctor.network import SMTP, DnsFailedError, NoAddressError, Queries, connected

SUBJECT = "outbound"
MOST = 4  # peers that are tried
HTTPS = 443
_WHY = {
    HTTPS: "mail to other relays goes by SMTP, or waits",
    SMTP: "mail to servers without /mxdeliv waits, and bounces after two days",
}

# The host that takes the mail of a domain on a port; None if DNS does not say.
HostOf = Callable[[str, int], str | None]
# Connects to a host and port. Raises `OSError`.
Connect = Callable[[str, int], None]


def host_of(domain: str, port: int) -> str | None:
    """The domain itself for HTTPS; for SMTP its best MX (RFC 5321, 5.1)."""
    literal = address.ip_literal(domain)
    if literal is not None or port == HTTPS:
        return str(literal or domain)
    try:
        found = Queries().ask(domain, MX)
    except DnsFailedError:
        return None
    if not found:
        return domain
    best = min(found, key=lambda one: one.preference)
    # A null MX (RFC 7505) names no host.
    return str(best.exchange).rstrip(".") or None


def connect(host: str, port: int) -> None:
    """Connects, and closes the connection. Raises `OSError`, of which `NoAddressError`."""
    with connected(host, port):
        pass


def check(domains: Sequence[str], host_of: HostOf = host_of, connect: Connect = connect) -> Iterator[Finding]:
    """Checks both ports at hosts of `domains`. Without any, both are unknown."""
    with ThreadPoolExecutor(2 * MOST) as threads:
        for port in (HTTPS, SMTP):
            answers = list(threads.map(partial(_try, port, host_of, connect), domains))
            yield _of(port, [one for one in answers if one is not None])


def _try(port: int, host_of: HostOf, connect: Connect, domain: str) -> tuple[str, str] | None:
    """The host, and why it could not be reached, empty if it could; None if DNS does not know it."""
    host = host_of(domain, port)
    if host is None:
        return None
    try:
        connect(host, port)
    except NoAddressError:
        return None
    except OSError as error:
        return host, error.strerror or str(error)
    return host, ""


def _of(port: int, answers: Sequence[tuple[str, str]]) -> Finding:
    what = f"TCP {port}"
    reached = [host for host, error in answers if not error]
    if reached:
        return good(SUBJECT, what, f"{reached[0]} can be reached")
    if not answers:
        return Finding(
            SUBJECT, what, FindingState.UNKNOWN, "no host to try, of peers that have taken mail", _WHY[port],
            "run, with the domain of another mail server: chatmailctl doctor --outbound DOMAIN",
        )  # fmt: skip
    tried = ", ".join(f"{host} ({error})" for host, error in answers)
    return Finding(
        SUBJECT, what, FindingState.BAD, f"no host can be reached: {tried}", _WHY[port],
        f"allow outbound TCP port {port} in this host's packet filter, and ask your provider to open it",
    )  # fmt: skip
