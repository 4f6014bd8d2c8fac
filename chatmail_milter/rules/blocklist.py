"""The operator's blocklist of addresses, domains, subdomains and networks.

An entry is `u@example.org`, `example.org`, `.example.org` (subdomains without the domain itself, as in
Postfix), an IP address, or a network such as `192.0.2.0/24`. IPv4-mapped IPv6 addresses (RFC 4291, 2.5.5.2)
count as IPv4. The cost of a lookup depends on the number of labels of a domain and of different prefix
lengths, not on the number of entries.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from chatmail_milter import address
from chatmail_milter.address import MalformedAddressError, Peer

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# The networks of one prefix length: how many host bits an address is shifted by, and the blocked prefixes.
_Group = tuple[int, frozenset[int]]

_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")
# Only text of this form is parsed as a network: most entries are names.
_NUMERIC = re.compile(r"[0-9.]+(?:/\d+)?|[0-9a-f:.]*:[0-9a-f:.]*(?:/\d+)?")
_FORMS = "write user@example.org, example.org, .example.org, 192.0.2.1 or 192.0.2.0/24"


class MalformedEntryError(ValueError):
    """The text is not a valid entry. The message tells the operator what to write instead."""


@dataclass(frozen=True, slots=True)
class Blocklist:
    """The entries, indexed for lookups. Construct with `of`."""

    names: frozenset[str] = frozenset()
    networks: Mapping[int, tuple[_Group, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, entries: Iterable[str]) -> Blocklist:
        """A blocklist of `entries`, each as `entry` returns it."""
        names: set[str] = set()
        groups: dict[int, dict[int, set[int]]] = {}
        for one in entries:
            network = _as_network(one)
            if network is None:
                names.add(one)
            else:
                shift = network.max_prefixlen - network.prefixlen
                start = int(network.network_address) >> shift
                groups.setdefault(network.version, {}).setdefault(shift, set()).add(start)
        networks = {
            version: tuple((shift, frozenset(starts)) for shift, starts in by_shift.items())
            for version, by_shift in groups.items()
        }
        return cls(frozenset(names), networks)

    def has_address(self, mailbox: str) -> bool:
        """Whether a canonical address, its domain or a parent domain is blocked."""
        return mailbox in self.names or self.has_domain(address.domain_of(mailbox))

    def has_domain(self, domain: str) -> bool:
        """Whether a canonical domain or a parent domain is blocked; for an IP literal, also its network."""
        if domain.startswith("["):
            return domain in self.names or self.has_peer(address.ip_literal(domain))
        return not self.names.isdisjoint(address.patterns(domain))

    def has_peer(self, peer: Peer) -> bool:
        """Whether an IP address is in a blocked network. False for None, a local process."""
        if peer is None:
            return False
        if isinstance(peer, ipaddress.IPv6Address) and peer.ipv4_mapped is not None:
            peer = peer.ipv4_mapped
        number = int(peer)
        return any(number >> shift in starts for shift, starts in self.networks.get(peer.version, ()))


def entry(text: str) -> str:
    """Parses an operator's entry into its canonical form. Raises `MalformedEntryError`."""
    bare = text.strip()
    if "*" in bare:
        # Legal in a local part, but surely meant as a wildcard.
        raise MalformedEntryError("there is no *: write example.org for a domain, .example.org for all below")
    literal = None if "@" in bare else address.ip_literal(bare)
    if literal is not None or ("/" in bare and "@" not in bare):
        return _written(_checked_network(bare if literal is None else str(literal)))
    try:
        return _name(bare)
    except MalformedAddressError as error:
        raise MalformedEntryError(f"{error}: {_FORMS}") from None


def domain_entry(text: str) -> str:
    """Parses a domain entry: `example.org`, `.example.org`, `[192.0.2.1]`. Raises `MalformedEntryError`."""
    bare = text.strip()
    literal = address.ip_literal(bare)
    if literal is not None:
        return address.domain(bare)
    one = entry(bare)
    if "@" in one or is_network(one):
        raise MalformedEntryError("write a domain: example.org, or .example.org for all below it")
    return one


def _name(text: str) -> str:
    """Parses an address, a domain, or a domain with a leading dot. Raises `MalformedAddressError`."""
    if "@" in text:
        return address.parse(text)
    name = address.domain(text.removeprefix("."))
    # No top-level domain is a number (RFC 3696, 2), so this is a malformed IP address.
    if name.startswith("[") or name.rpartition(".")[2].isdecimal():
        raise MalformedAddressError("this is neither a domain nor an IP address")
    return f".{name}" if text.startswith(".") else name


def is_network(one: str) -> bool:
    """Whether a canonical entry is an IP address or a network."""
    return _as_network(one) is not None


def _as_network(one: str) -> Network | None:
    if not _NUMERIC.fullmatch(one):
        return None
    try:
        return ipaddress.ip_network(one)
    except ValueError:
        return None


def _checked_network(text: str) -> Network:
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise MalformedEntryError("write a network as 192.0.2.0/24 or 2001:db8::/32") from None
    if "%" in text:
        raise MalformedEntryError("an address has no zone here: leave out the % and what is after it")
    if ipaddress.ip_interface(text).ip != network.network_address:
        raise MalformedEntryError(f"that is an address in a network: write {network} for the network")
    return network


def _written(network: Network) -> str:
    if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(_MAPPED):
        start = int(network.network_address) & 0xFFFFFFFF
        network = ipaddress.IPv4Network((start, network.prefixlen - _MAPPED.prefixlen))
    if network.prefixlen == 0:
        raise MalformedEntryError("that is the whole Internet: write a smaller network")
    single = network.prefixlen == network.max_prefixlen
    return str(network.network_address) if single else str(network)
