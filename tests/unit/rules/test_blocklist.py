"""The blocklist: valid entries, and whom they match, compared with a naive implementation."""

from __future__ import annotations

import ipaddress
import timeit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatmail_milter.rules.blocklist import Blocklist, MalformedEntryError, domain_entry, entry, is_network

ip = ipaddress.ip_address


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("User@Example.ORG", "user@example.org"),
        (" example.org\t", "example.org"),
        (".Example.org", ".example.org"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("_a.lab", "_a.lab"),
        (".xyz", ".xyz"),
        ("192.0.2.1", "192.0.2.1"),
        ("[192.0.2.1]", "192.0.2.1"),
        ("192.0.2.1/32", "192.0.2.1"),
        ("192.0.2.0/24", "192.0.2.0/24"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
        ("2001:DB8:0::/32", "2001:db8::/32"),
        ("[IPv6:2001:db8::1]", "2001:db8::1"),
        ("u@192.0.2.1", "u@[192.0.2.1]"),
    ],
)
def test_what_is_written_has_one_canonical_form(text: str, canonical: str) -> None:
    assert entry(text) == canonical
    assert entry(canonical) == canonical


@pytest.mark.parametrize(
    ("text", "instead"),
    [
        ("", "write user@example.org"),
        (".", "write user@example.org"),
        ("..example.org", "write user@example.org"),
        ("a b", "write user@example.org"),
        ("@example.org", "write user@example.org"),
        ("u@", "write user@example.org"),
        ("example.org.", "write user@example.org"),
        ("1.2.3", "neither a domain nor an IP address"),
        ("300.1.2.3", "neither a domain nor an IP address"),
        (".192.0.2.1", "neither a domain nor an IP address"),
        ("*@example.org", "write example.org for a domain"),
        ("*.example.org", ".example.org for all below"),
        ("192.0.2.1/24", "write 192.0.2.0/24"),
        ("192.0.2.0/33", "write a network as 192.0.2.0/24"),
        ("https://example.org/", "write a network as 192.0.2.0/24"),
        ("fe80::1%eth0", "leave out the %"),
        ("0.0.0.0/0", "the whole Internet"),
        ("::/0", "the whole Internet"),
        ("::ffff:0:0/96", "the whole Internet"),
        ("x" * 10_000, "write user@example.org"),
        ("\ufffd", "write user@example.org"),
    ],
)
def test_what_can_not_be_meant_is_refused_with_what_to_write_instead(text: str, instead: str) -> None:
    with pytest.raises(MalformedEntryError) as refused:
        entry(text)
    assert instead in str(refused.value)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [("Example.org", "example.org"), (".example.org", ".example.org"), ("192.0.2.1", "[192.0.2.1]")],
)
def test_where_only_a_domain_can_be_meant(text: str, canonical: str) -> None:
    assert domain_entry(text) == canonical


@pytest.mark.parametrize("text", ["u@example.org", "192.0.2.0/24", "", "*"])
def test_what_is_no_domain(text: str) -> None:
    with pytest.raises(MalformedEntryError):
        domain_entry(text)


@pytest.mark.parametrize(
    ("blocked", "address", "found"),
    [
        ("u@example.org", "u@example.org", True),
        ("u@example.org", "v@example.org", False),
        ("u@example.org", "u@sub.example.org", False),
        ("example.org", "u@example.org", True),
        ("example.org", "u@sub.example.org", False),
        ("example.org", "u@notexample.org", False),
        (".example.org", "u@example.org", False),
        (".example.org", "u@sub.example.org", True),
        (".example.org", "u@deep.sub.example.org", True),
        (".example.org", "u@notexample.org", False),
        (".org", "u@example.org", True),
        ("192.0.2.0/24", "u@[192.0.2.7]", True),
        ("192.0.2.0/24", "u@[IPv6:::ffff:192.0.2.7]", True),
        ("192.0.2.0/24", "u@[198.51.100.7]", False),
        ("2001:db8::/32", "u@[IPv6:2001:db8::7]", True),
        ("192.0.2.7", "u@[192.0.2.7]", True),
        ("192.0.2.7", "u@192.0.2.7.example", False),
    ],
)
def test_whom_an_entry_means(blocked: str, address: str, found: bool) -> None:
    blocklist = Blocklist.of([blocked])
    assert blocklist.has_address(address) is found
    if "@" not in blocked:
        assert blocklist.has_domain(address.rpartition("@")[2]) is found


def test_a_mapped_address_is_the_ipv4_address_that_it_holds() -> None:
    blocklist = Blocklist.of(["192.0.2.0/24"])
    assert blocklist.has_peer(ip("192.0.2.255"))
    assert blocklist.has_peer(ip("::ffff:192.0.2.255"))
    assert not blocklist.has_peer(ip("::192.0.2.255"))
    assert not Blocklist.of(["::/64"]).has_peer(ip("::ffff:192.0.2.1"))


def test_a_process_of_this_host_is_in_no_network() -> None:
    assert not Blocklist.of(["0.0.0.0/1", "128.0.0.0/1"]).has_peer(None)


def test_an_empty_list_has_nobody() -> None:
    blocklist = Blocklist()
    assert not blocklist.has_address("u@example.org")
    assert not blocklist.has_address("")
    assert not blocklist.has_domain("")
    assert not blocklist.has_peer(ip("192.0.2.1"))


networks = st.one_of(
    st.ip_addresses(v=4).flatmap(
        lambda one: st.integers(1, 32).map(lambda bits: ipaddress.ip_network((one, bits), strict=False))
    ),
    # (All of IPv4 in IPv6's form is refused, as the whole Internet is.)
    st.ip_addresses(v=6)
    .flatmap(
        lambda one: st.integers(1, 128).map(lambda bits: ipaddress.ip_network((one, bits), strict=False))
    )
    .filter(lambda network: str(network) != "::ffff:0:0/96"),
)


@pytest.mark.slow
@given(listed=st.lists(networks, max_size=20), stranger=st.ip_addresses(), data=st.data())
def test_networks_are_found_as_by_looking_at_each(
    listed: list[ipaddress.IPv4Network | ipaddress.IPv6Network],
    stranger: ipaddress.IPv4Address | ipaddress.IPv6Address,
    data: st.DataObject,
) -> None:
    blocklist = Blocklist.of(entry(str(one)) for one in listed)
    inside = [one[data.draw(st.integers(0, one.num_addresses - 1))] for one in listed]
    for peer in (stranger, *inside):
        mapped = getattr(peer, "ipv4_mapped", None) or peer
        assert blocklist.has_peer(peer) is any(mapped in one for one in map(_unmapped, listed))


def _unmapped(
    network: ipaddress.IPv4Network | ipaddress.IPv6Network,
) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    return ipaddress.ip_network(entry(str(network)))


labels = st.sampled_from(["a", "b", "c", "ab"])
names = st.lists(labels, min_size=1, max_size=4).map(".".join)


@given(listed=st.lists(st.tuples(st.sampled_from(["", ".", "u@", "v@"]), names).map("".join)), domain=names)
def test_names_are_found_as_by_looking_at_each(listed: list[str], domain: str) -> None:
    blocklist = Blocklist.of(map(entry, listed))
    by_domain = any(one == domain or (one.startswith(".") and domain.endswith(one)) for one in listed)
    assert blocklist.has_domain(domain) is by_domain
    assert blocklist.has_address(f"u@{domain}") is (by_domain or f"u@{domain}" in listed)


@given(st.text(max_size=40))
def test_any_text_is_an_entry_in_canonical_form_or_refused(text: str) -> None:
    try:
        one = entry(text)
    except MalformedEntryError:
        return
    assert entry(one) == one
    assert is_network(one) is (
        "@" not in one and (":" in one or one.replace(".", "").replace("/", "").isdecimal())
    )


def test_a_look_up_costs_the_same_however_long_the_list_is() -> None:
    def cost(number: int) -> float:
        listed = [f"{i >> 8 & 255}.{i & 255}.{i % 7}.0/24" for i in range(256, 256 + number)]
        listed += [f"u{i}@d{i}.example" for i in range(number)] + [f".d{i}.example" for i in range(number)]
        blocklist = Blocklist.of(listed)
        peer = ip("203.0.113.9")
        timer = timeit.Timer(lambda: blocklist.has_peer(peer) or blocklist.has_address("u@chat.example"))
        return min(timer.repeat(repeat=7, number=2000))

    assert cost(20_000) < 5 * cost(2)
