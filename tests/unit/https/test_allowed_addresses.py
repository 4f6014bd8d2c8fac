"""Addresses that the HTTPS client may connect to. The ranges are typed again from IANA's registries."""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mxdeliv_app.https import allowed_addresses
from mxdeliv_app.https.allowed_addresses import AllowedAddresses, ForbiddenAddressError, IPAddress, IPNetwork

# https://www.iana.org/assignments/iana-ipv4-special-registry, all rows, and multicast.
IPV4 = [
    "0.0.0.0/8",
    "0.0.0.0/32",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.0.0/29",
    "192.0.0.8/32",
    "192.0.0.9/32",
    "192.0.0.10/32",
    "192.0.0.170/32",
    "192.0.0.171/32",
    "192.0.2.0/24",
    "192.31.196.0/24",
    "192.52.193.0/24",
    "192.88.99.0/24",
    "192.88.99.2/32",
    "192.168.0.0/16",
    "192.175.48.0/24",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "240.0.0.0/4",
    "255.255.255.255/32",
    "224.0.0.0/4",
]
# https://www.iana.org/assignments/iana-ipv6-special-registry, all rows, site-local (RFC 3879) and multicast.
IPV6 = [
    "::1/128",
    "::/128",
    "::ffff:127.0.0.0/104",
    "64:ff9b::/96",
    "64:ff9b:1::/48",
    "100::/64",
    "100:0:0:1::/64",
    "2001::/23",
    "2001::/32",
    "2001:1::1/128",
    "2001:1::2/128",
    "2001:1::3/128",
    "2001:2::/48",
    "2001:3::/32",
    "2001:4:112::/48",
    "2001:10::/28",
    "2001:20::/28",
    "2001:30::/28",
    "2001:db8::/32",
    "2002::/16",
    "2620:4f:8000::/48",
    "3fff::/20",
    "5f00::/16",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
]

# An IPv4 address inside: mapped, compatible, NAT64 well-known and local, Teredo, 6to4, ISATAP.
INSIDE = [
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::7f00:1",
    "64:ff9b::7f00:1",
    "64:ff9b::808:808",
    "64:ff9b:1::a00:1",
    "2001:0:808:808:0:3fff:80ff:fffe",
    "2002:7f00:1::",
    "2002:808:808::1",
    "fe80::5efe:10.0.0.1",
    "fe80::1%eth0",
]

PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "169.253.255.255",
    "172.15.255.255",
    "172.32.0.0",
    "192.167.255.255",
    "192.169.0.0",
    "192.0.3.0",
    "192.31.195.255",
    "192.175.49.0",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "2001:4860:4860::8888",
    "2606:4700::1111",
    "2620:4f:8001::",
    "2001:200::1",
    "2a01:4f8::1",
    "::ffff:8.8.8.8",
]


@pytest.mark.parametrize("network", [*IPV4, *IPV6])
def test_special_purpose_network_is_forbidden_from_end_to_end(network: str) -> None:
    span = ip_network(network)
    for address in (span[0], span[span.num_addresses // 2], span[-1]):
        assert not AllowedAddresses().permits(address)


@pytest.mark.parametrize("address", INSIDE)
def test_address_that_leads_to_another_is_forbidden(address: str) -> None:
    assert not AllowedAddresses().permits(ip_address(address))


@pytest.mark.parametrize("network", ["64:ff9b::/96", "2002::/16", "2001::/32"])
def test_allowed_translator_leads_to_no_forbidden_address(network: str) -> None:
    public, private = {
        "64:ff9b::/96": ("64:ff9b::808:808", "64:ff9b::a00:1"),
        "2002::/16": ("2002:808:808::1", "2002:a00:1::1"),
        # Teredo has the client's address with all bits turned over (RFC 4380, 4).
        "2001::/32": ("2001:0:808:808::f7f7:f7f7", "2001:0:808:808::f5ff:fffe"),
    }[network]
    guard = AllowedAddresses([ip_network(network)])
    assert guard.permits(ip_address(public))
    assert not guard.permits(ip_address(private))
    both = AllowedAddresses([ip_network(network), ip_network("10.0.0.0/8")])
    assert both.permits(ip_address(private))


@pytest.mark.parametrize("address", PUBLIC)
def test_public_address_is_permitted(address: str) -> None:
    assert AllowedAddresses().permits(ip_address(address))


def test_allowed_network_is_an_exception_and_nothing_beside_it() -> None:
    guard = AllowedAddresses([ip_network("10.77.0.0/24"), ip_network("fd00:77::/64")])
    assert guard.permits(ip_address("10.77.0.12"))
    assert guard.permits(ip_address("::ffff:10.77.0.12"))
    assert guard.permits(ip_address("fd00:77::5"))
    assert not guard.permits(ip_address("10.77.1.12"))
    assert not guard.permits(ip_address("fd00:78::5"))
    assert not guard.permits(ip_address("127.0.0.1"))


def test_only_permitted_addresses_are_left() -> None:
    mixed = [ip_address("127.0.0.1"), ip_address("8.8.8.8")]
    assert AllowedAddresses().permitted(mixed) == [ip_address("8.8.8.8")]


def test_no_permitted_address_is_an_error_but_no_address_is_none() -> None:
    with pytest.raises(ForbiddenAddressError):
        AllowedAddresses().permitted([ip_address("127.0.0.1"), ip_address("::1")])
    assert AllowedAddresses().permitted([]) == []


@given(st.ip_addresses())
def test_nothing_that_the_standard_library_calls_special_is_permitted(address: IPAddress) -> None:
    if AllowedAddresses().permits(address):
        mapped = getattr(address, "ipv4_mapped", None) or address
        assert mapped.is_global
        assert not mapped.is_multicast


# What is special, and leads to no host of the network that a relay is in. Loopback has the resolver.
ELSEWHERE = {
    "0.0.0.0/8",
    "127.0.0.0/8",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.31.196.0/24",
    "192.52.193.0/24",
    "192.88.99.0/24",
    "192.175.48.0/24",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "2001::/23",
    "2001:db8::/32",
    "2002::/16",
    "2620:4f:8000::/48",
    "3fff::/20",
}


def test_the_mta_sts_resolver_keeps_out_of_inside_networks_as_the_relay_does() -> None:
    unit = Path(__file__).parents[3] / "ansible/roles/mta_sts/templates/unit.conf.j2"
    found = re.search(r"^IPAddressDeny=(.+)$", unit.read_text(), re.MULTILINE)
    assert found is not None
    denied = [ip_network(one) for one in found[1].split()]
    for network in denied:
        assert not AllowedAddresses().permits(network[0])
        assert not AllowedAddresses().permits(network[-1])

    def covered(network: IPv4Network | IPv6Network) -> bool:
        return any(type(one) is type(network) and network.subnet_of(one) for one in denied)  # type: ignore[arg-type]

    special: list[IPv4Network | IPv6Network] = [
        *allowed_addresses._SPECIAL_V4,
        *allowed_addresses._SPECIAL_V6,
    ]
    assert {str(one) for one in special if not covered(one)} == ELSEWHERE
    assert all(map(covered, map(ip_network, ("fc00::/7", "fe80::/10", "ff00::/8"))))


# But for `::`, to which coturn relays nothing, and IPv4 written as IPv6, which it need not relay to.
@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)))
def test_coturn_is_told_of_all_that_is_forbidden_by_its_network(address: IPAddress) -> None:
    if getattr(address, "ipv4_mapped", None) is not None:
        assert is_denied(address)
    elif address != IPv6Address("::"):
        assert is_denied(address) is not AllowedAddresses().permits(address)


@pytest.mark.parametrize("network", [*IPV4, *IPV6])
def test_coturn_relays_to_no_special_purpose_network(network: str) -> None:
    found = ip_network(network)
    if found[0] != IPv6Address("::"):
        assert is_denied(found[0])
    assert is_denied(found[-1]) or network == "::/128"


def test_no_range_for_coturn_begins_with_the_unspecified_address_of_ipv6() -> None:
    assert all(first != IPv6Address("::") for first, _ in allowed_addresses.forbidden_ranges())


EXCEPTIONS = [
    ip_network(network)
    for network in (
        "10.0.0.0/8", "0.0.0.0/0", "fd00::/8", "2001:db8::/32", "2001::/23", "2001::/32", "2002::/16",
        "2002:a00::/24", "64:ff9b::/96", "64:ff9b::808:0/112", "::ffff:0:0/96", "::/0", "::/128",
    )
]  # fmt: skip
BEHIND = ("10.0.0.1", "169.254.169.254", "8.8.8.8")


@pytest.mark.parametrize("allowed", EXCEPTIONS, ids=str)
def test_coturn_relays_by_an_exception_only_to_what_mail_may_reach(allowed: IPNetwork) -> None:
    ranges = allowed_addresses.excepted_ranges([allowed])
    rule = AllowedAddresses([allowed])
    inner = [int(ip_address(one)) for one in BEHIND]
    tunnelled = [
        IPv6Address(value)
        for one in inner
        for value in (
            (0xFFFF << 32) | one,
            int(IPv6Address("64:ff9b::")) | one,
            int(IPv6Address("2002::")) | one << 80,
            int(IPv6Address("2001::")) | one ^ 0xFFFFFFFF,
        )
    ]
    ends = [end for pair in ranges for end in pair]
    assert all(rule.permits(one) for one in ends)
    assert not any(is_within(one, ranges) for one in tunnelled)
    assert all(first != IPv6Address("::") for first, _ in ranges)


@pytest.mark.parametrize(("network", "address"), [("10.0.0.0/8", "10.1.2.3"), ("fd00::/8", "fd00::1")])
def test_an_exception_is_one_for_coturn_too(network: str, address: str) -> None:
    assert is_within(ip_address(address), allowed_addresses.excepted_ranges([ip_network(network)]))


def is_denied(address: IPAddress) -> bool:
    return is_within(address, allowed_addresses.forbidden_ranges())


def is_within(address: IPAddress, ranges: list[tuple[IPAddress, IPAddress]]) -> bool:
    return any(
        type(address) is type(first) and first <= address <= last  # type: ignore[operator]
        for first, last in ranges
    )
