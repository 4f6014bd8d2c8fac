"""Which addresses may be connected to. The ranges are typed again here, from IANA's registries."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mxdeliv_app.relay.guard import ForbiddenAddressError, Guard, IPAddress

SPECIAL = [
    "0.0.0.1",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.255",
    "169.254.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::7f00:1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:10::1",
    "2001:20::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:808:808::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd12:3456::1",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
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
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "2001:4860:4860::8888",
    "2606:4700::1111",
    "2a01:4f8::1",
    "::ffff:8.8.8.8",
]


@pytest.mark.parametrize("address", SPECIAL)
def test_special_purpose_address_is_forbidden(address: str) -> None:
    assert not Guard().permits(ip_address(address))


@pytest.mark.parametrize("address", PUBLIC)
def test_public_address_is_permitted(address: str) -> None:
    assert Guard().permits(ip_address(address))


def test_allowed_network_is_an_exception_and_nothing_beside_it() -> None:
    guard = Guard([ip_network("10.77.0.0/24"), ip_network("fd00:77::/64")])
    assert guard.permits(ip_address("10.77.0.12"))
    assert guard.permits(ip_address("::ffff:10.77.0.12"))
    assert guard.permits(ip_address("fd00:77::5"))
    assert not guard.permits(ip_address("10.77.1.12"))
    assert not guard.permits(ip_address("fd00:78::5"))
    assert not guard.permits(ip_address("127.0.0.1"))


def test_only_permitted_addresses_are_left() -> None:
    mixed = [ip_address("127.0.0.1"), ip_address("8.8.8.8")]
    assert Guard().permitted(mixed) == [ip_address("8.8.8.8")]


def test_no_permitted_address_is_an_error_but_no_address_is_none() -> None:
    with pytest.raises(ForbiddenAddressError):
        Guard().permitted([ip_address("127.0.0.1"), ip_address("::1")])
    assert Guard().permitted([]) == []


@given(st.ip_addresses())
def test_nothing_that_the_standard_library_calls_special_is_permitted(address: IPAddress) -> None:
    if Guard().permits(address):
        mapped = getattr(address, "ipv4_mapped", None) or address
        assert mapped.is_global
        assert not mapped.is_multicast
