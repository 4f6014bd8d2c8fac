"""Routing: where mail for a domain goes, by the operator's route, the IP literal, or DNS.

Returns the HTTPS targets in order, or a refusal if mail for the domain can't be delivered. Opens no
connection to a peer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address
from itertools import takewhile
from urllib.parse import urlsplit

from chatmail_milter import codes
from chatmail_milter.address import MalformedAddressError, ip_literal, trusts_any_certificate
from chatmail_milter.address import domain as canonical_domain
from chatmail_milter.store.endpoints import Endpoint
from chatmail_milter.store.routes import Https, Route
from chatmail_milter.verdict import Verdict
from mxdeliv_app.https.allowed_addresses import AllowedAddresses
from mxdeliv_app.https.connection import Target
from mxdeliv_app.https.dial import OwnHost
from mxdeliv_app.https.resolver import HostLookup, NameTroubleError, NoSuchDomainError, NullMxError
from mxdeliv_app.mxdeliv import wire

# A stranger's domain may list a hundred hosts; each costs us up to a connect timeout.
MAX_TARGETS = 4
LOOPBACK = IPv4Address("127.0.0.1")


@dataclass(frozen=True, slots=True)
class DeliveryPlan:
    """How to reach a domain: `targets` in order, and the operator's choice of HTTPS or SMTP."""

    targets: tuple[Target, ...]
    https: Https = "prefer"
    one_per_recipient: bool = False
    routed: bool = False


class Router:
    """Makes plans."""

    def __init__(
        self,
        names: HostLookup,
        guard: AllowedAddresses,
        own_host: OwnHost,
        route_of: Callable[[str], Route | None],
    ) -> None:
        self._names = names
        self._guard = guard
        self._own_host = own_host
        self._route_of = route_of

    def plan(self, domain: str, known: Endpoint | None) -> DeliveryPlan | Verdict:
        """The plan for the canonical `domain`, or the refusal. `known`: the cached facts about its HTTPS."""
        route = self._route_of(domain)
        verify = not trusts_any_certificate(domain)
        if route is not None:
            if route.verify is not None:
                verify = route.verify
            if route.target is not None:
                target = _routed_target(route.target, domain, verify)
                return DeliveryPlan((target,), route.https, route.one_per_recipient, routed=True)
        hosts = self._hosts(domain, known)
        if isinstance(hosts, Verdict):
            return hosts
        targets = tuple(Target(host, verify=verify) for host in hosts[:MAX_TARGETS])
        if route is not None:
            return DeliveryPlan(targets, route.https, route.one_per_recipient)
        return DeliveryPlan(targets)

    def smtp_refusal(self, domain: str) -> Verdict | None:
        """The refusal if smtp(8) would find no address for `domain`, else None.

        One permitted address is enough; smtp(8) ignores the others (`dns_filter`).
        """
        literal = ip_literal(domain)
        if literal is not None:
            return None if self._guard.permits(literal) else codes.FORBIDDEN_ADDRESS
        hosts = self._mail_hosts(domain)
        if isinstance(hosts, Verdict):
            return hosts
        refusal = codes.NO_HOST
        for host in hosts:
            try:
                addresses = self._names.addresses(host)
            except NameTroubleError:
                refusal = codes.DNS_TROUBLE
                continue
            if any(map(self._guard.permits, addresses)):
                return None
            if addresses and refusal is codes.NO_HOST:
                refusal = codes.NO_PUBLIC_ADDRESS
        return refusal

    def _mail_hosts(self, domain: str) -> Sequence[str] | Verdict:
        """The mail hosts of `domain` by DNS, or the refusal without any."""
        try:
            return self._names.mail_hosts(domain)
        except NoSuchDomainError:
            return codes.NO_SUCH_DOMAIN
        except NullMxError:
            return codes.NULL_MX
        except NameTroubleError:
            return codes.DNS_TROUBLE

    def _hosts(self, domain: str, known: Endpoint | None) -> list[str] | Verdict:
        literal = LOOPBACK if _is_localhost(domain) else ip_literal(domain)
        if literal is not None:
            # No DNS will ever lead elsewhere. (Our own address Postfix knows where an interface has it.)
            if self._own_host.has(literal):
                return codes.MAIL_LOOP
            return [str(literal)] if self._guard.permits(literal) else codes.FORBIDDEN_ADDRESS
        mail_hosts = self._mail_hosts(domain)
        if isinstance(mail_hosts, Verdict):
            return mail_hosts
        hosts = list(dict.fromkeys(host for host in (*mail_hosts, domain) if _is_name(host)))
        # By address only the first: each lookup may take seconds. `dial` looks at the others' addresses.
        if self._own_host.is_reached_by(hosts[0]):
            return codes.MAIL_LOOP
        hosts = list(takewhile(lambda host: not self._own_host.is_named(host), hosts))
        # A host that DNS no longer names is not asked, however well it worked.
        if known is not None and known.host in hosts:
            hosts.remove(known.host)
            hosts.insert(0, known.host)
        return hosts


def _is_localhost(domain: str) -> bool:
    # RFC 6761, 6.3: these names are loopback's, whatever DNS says.
    return domain == "localhost" or domain.endswith(".localhost")


def _is_name(host: str) -> bool:
    # DNS lets a stranger put slashes and worse into a name that is about to stand in a URL.
    try:
        return canonical_domain(host) == host
    except MalformedAddressError:
        return False


def _routed_target(text: str, domain: str, verify: bool) -> Target:
    if "://" in text:
        parts = urlsplit(text)
        host = parts.hostname or ""
        path = parts.path if parts.path not in ("", "/") else wire.PATH
        return Target(host, parts.port or 443, path, verify=verify and ip_literal(host) is None)
    literal = ip_literal(text)
    if literal is None:
        return Target(canonical_domain(text), verify=verify)
    name = ip_literal(domain)
    return Target(domain if name is None else str(name), pinned=ip_address(literal), verify=verify)
