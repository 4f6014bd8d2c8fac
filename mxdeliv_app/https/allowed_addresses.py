"""The IP addresses that the relay may connect to. Anybody may choose a recipient domain, and its DNS records.

Pure. Forbids all networks of IANA's special-purpose registries (RFC 6890), and multicast. They are listed
here, because Python's `is_global` differs between versions. smtp(8) uses the same table (`dns_filter`), and a
test compares it with `IPAddressDeny=` of the MTA-STS resolver's unit.
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
        "192.31.196.0/24",  # AS112, RFC 7535
        "192.52.193.0/24",  # multicast tunnels, RFC 7450
        "192.88.99.0/24",  # 6to4 relays, RFC 7526
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112, RFC 7534
        "198.18.0.0/15",  # benchmarks, RFC 2544
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast, RFC 5771
        "240.0.0.0/4",  # reserved and broadcast, RFC 1112, RFC 919
    )
)

# The only global unicast network of IPv6 so far (RFC 4291, 2.4); all others are forbidden.
_GLOBAL_V6 = IPv6Network("2000::/3")
_SPECIAL_V6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments, Teredo and ORCHID among them, RFC 2928
        "2001:db8::/32",  # documentation, RFC 3849
        "2002::/16",  # 6to4, RFC 3056
        "2620:4f:8000::/48",  # AS112, RFC 7534
        "3fff::/20",  # documentation, RFC 9637
    )
)

_UNSPECIFIED = IPv6Network("::/128")

# NAT64 (RFC 6052, 2.1). Allowing this network does not allow forbidden IPv4 addresses through it.
_NAT64 = IPv6Network("64:ff9b::/96")
# Each address in these networks leads to an IPv4 address: mapped (RFC 4291, 2.5.5.2), NAT64, Teredo, 6to4.
_TO_IPV4 = (IPv6Network("::ffff:0:0/96"), _NAT64, IPv6Network("2001::/32"), IPv6Network("2002::/16"))


class ForbiddenAddressError(Exception):
    """The host has only forbidden addresses. The message contains none of them."""


class AllowedAddresses:
    """The rule, with exceptions: the networks in `allowed`."""

    def __init__(self, allowed: Iterable[IPNetwork] = ()) -> None:
        self._allowed = tuple(allowed)

    def permits(self, address: IPAddress) -> bool:
        """Whether the relay may connect to `address`. For NAT64 or a tunnel, also checks the IPv4 address."""
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        inner = _inside(address)
        if inner is not None and not self.permits(inner):
            return False
        if any(address in network for network in self._allowed):
            return True
        if isinstance(address, IPv4Address):
            return not any(address in network for network in _SPECIAL_V4)
        if address.scope_id is not None or address not in _GLOBAL_V6:
            return False
        return not any(address in network for network in _SPECIAL_V6)

    def permitted(self, addresses: Iterable[IPAddress]) -> list[IPAddress]:
        """The permitted ones among `addresses`. Raises `ForbiddenAddressError` if there are only others."""
        addresses = list(addresses)
        permitted = [address for address in addresses if self.permits(address)]
        if addresses and not permitted:
            raise ForbiddenAddressError
        return permitted


def _inside(address: IPAddress) -> IPv4Address | None:
    """The IPv4 address that an IPv6 address leads to by NAT64, Teredo or 6to4; else None."""
    if isinstance(address, IPv4Address):
        return None
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    if address.teredo is not None:
        return address.teredo[1]
    return address.sixtofour


def forbidden_ranges() -> list[tuple[IPAddress, IPAddress]]:
    """The forbidden networks as first and last addresses, for coturn (`denied-peer-ip`)."""
    outside = sorted(IPv6Network("::/0").address_exclude(_GLOBAL_V6))
    networks: list[IPNetwork] = [*_SPECIAL_V4, *outside, *_SPECIAL_V6]
    return [_range(one) for one in networks]


def excepted_ranges(allowed: Iterable[IPNetwork]) -> list[tuple[IPAddress, IPAddress]]:
    """The exceptions, likewise (`allowed-peer-ip`, which wins over the others).

    Without addresses of IPv6 that lead to IPv4: a range can't say that those behind them count.
    """
    left = [one for one in allowed if one != _UNSPECIFIED]
    for tunnel in _TO_IPV4:
        left = [part for one in left for part in _without(one, tunnel)]
    return [_range(one) for one in left]


def _without(network: IPNetwork, part: IPv6Network) -> list[IPNetwork]:
    if isinstance(network, IPv4Network) or not network.overlaps(part):
        return [network]
    return [] if network.subnet_of(part) else [*network.address_exclude(part)]


def _range(network: IPNetwork) -> tuple[IPAddress, IPAddress]:
    """First and last address, without `::`: for coturn 4.6.1 a range that begins there has all of IPv4."""
    first = network[0]
    return network[1] if first == _UNSPECIFIED[0] else first, network[-1]
