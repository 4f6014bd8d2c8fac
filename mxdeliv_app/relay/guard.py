"""Which addresses the relay may connect to: a recipient domain is chosen by a stranger, and so is its DNS.

Pure. The tables are IANA's special-purpose registries (RFC 6890) without what is globally reachable, and
multicast; written out here, since Python's `is_global` differs from version to version.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

_SPECIAL_V4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network, RFC 791
        "10.0.0.0/8",  # private, RFC 1918
        "100.64.0.0/10",  # shared, carrier-grade NAT, RFC 6598
        "127.0.0.0/8",  # loopback, RFC 1122
        "169.254.0.0/16",  # link-local, RFC 3927
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments, RFC 6890
        "192.0.2.0/24",  # documentation, RFC 5737
        "192.88.99.0/24",  # 6to4 relays, RFC 7526
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks, RFC 2544
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast, RFC 5771
        "240.0.0.0/4",  # reserved and broadcast, RFC 1112, RFC 919
    )
)

# Of IPv6 only this is global unicast (RFC 4291, 2.4); all the rest is special one way or another.
_GLOBAL_V6 = IPv6Network("2000::/3")
_SPECIAL_V6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments, Teredo and ORCHID among them, RFC 2928
        "2001:db8::/32",  # documentation, RFC 3849
        "2002::/16",  # 6to4: an IPv4 address of the stranger's choice inside, RFC 3056
        "3fff::/20",  # documentation, RFC 9637
    )
)


class ForbiddenAddressError(Exception):
    """Nothing but special-purpose addresses to connect to; the message names none of them."""


class Guard:
    """The rule, with the networks that the configuration allows all the same."""

    def __init__(self, allowed: Iterable[IPNetwork] = ()) -> None:
        self._allowed = tuple(allowed)

    def permits(self, address: IPAddress) -> bool:
        """Whether the relay may connect to `address`. An IPv4 address in IPv6 clothes counts as IPv4."""
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        if any(address in network for network in self._allowed):
            return True
        if isinstance(address, IPv4Address):
            return not any(address in network for network in _SPECIAL_V4)
        if address.scope_id is not None or address not in _GLOBAL_V6:
            return False
        return not any(address in network for network in _SPECIAL_V6)

    def permitted(self, addresses: Iterable[IPAddress]) -> list[IPAddress]:
        """Those of `addresses` that may be connected to. Raises `ForbiddenAddressError` if not one may."""
        addresses = list(addresses)
        permitted = [address for address in addresses if self.permits(address)]
        if addresses and not permitted:
            raise ForbiddenAddressError
        return permitted
