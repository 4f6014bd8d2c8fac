"""Connecting to a target: the order of its addresses, and the delay that a dead one causes."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import ip_address, ip_network

import pytest

from mxdeliv_app.https.allowed_addresses import AllowedAddresses, ForbiddenAddressError, IPAddress
from mxdeliv_app.https.connection import Target
from mxdeliv_app.https.dial import OwnHost, dialer
from mxdeliv_app.https.resolver import NameTroubleError
from tests.chat.deadline import deadline

LOOPBACK = AllowedAddresses([ip_network("127.0.0.0/8"), ip_network("::1/128")])


class ChangingHost:
    """A host, whose addresses are others each time they are asked for; the last stay."""

    def __init__(self, *turns: list[str]) -> None:
        self.turns = list(turns)
        self.asked = 0

    def mail_hosts(self, domain: str) -> tuple[str, ...]:
        return (domain,)

    def addresses(self, host: str) -> list[IPAddress]:
        self.asked += 1
        turn = self.turns.pop(0) if len(self.turns) > 1 else self.turns[0]
        return [ip_address(text) for text in turn]


# This host has an address that no peer has.
ELSEWHERE = OwnHost("here.test", ChangingHost(["198.51.100.1"]))


@pytest.fixture
def port() -> Iterator[int]:
    """Of a server at 127.0.0.1 and, where there is IPv6, ::1; and of one at 127.0.0.2 that accepts nobody."""
    with ExitStack() as servers:
        first = servers.enter_context(socket.create_server(("127.0.0.1", 0)))
        number: int = first.getsockname()[1]
        silent = servers.enter_context(socket.create_server(("127.0.0.2", number), backlog=0))
        for _ in range(2):  # the queue of a server that doesn't accept: full, and so SYNs are dropped
            one = servers.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(silent.getsockname())
        yield number


def dial(zone: ChangingHost, port: int, guard: AllowedAddresses = LOOPBACK, timeout: float = 60.0) -> str:
    """Whom it connected to."""
    found = dialer(zone, guard, ELSEWHERE, timeout)(Target("mx.test", port))
    with found:
        assert found.gettimeout() == timeout
        return str(found.getpeername()[0])


@pytest.mark.parametrize("dead", [["127.0.0.2"], ["127.0.0.3"], ["2001:db8::1"], ["127.0.0.3", "127.0.0.2"]])
def test_a_dead_address_does_not_cost_the_whole_time(port: int, dead: list[str]) -> None:
    guard = AllowedAddresses([*map(ip_network, ("127.0.0.0/8", "2001:db8::/32"))])
    with deadline("it connects while the dead address hangs", 60):
        assert dial(ChangingHost([*dead, "127.0.0.1"]), port, guard, timeout=600) == "127.0.0.1"


def test_all_dead_is_over_in_time(port: int) -> None:
    # The kernel would go on for two minutes.
    with deadline("it gives up", 60), pytest.raises(TimeoutError):
        dial(ChangingHost(["127.0.0.2"]), port, timeout=0.2)
    with pytest.raises(ConnectionRefusedError):
        dial(ChangingHost(["127.0.0.3"]), port)


def test_ipv6_comes_first() -> None:
    try:
        server = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("no IPv6 here")
    with server:
        assert dial(ChangingHost(["127.0.0.1", "::1"]), server.getsockname()[1]) == "::1"


def test_one_of_each_kind_is_tried_before_a_second(port: int) -> None:
    guard = AllowedAddresses([*map(ip_network, ("127.0.0.0/8", "2001:db8::/32"))])
    many = [f"2001:db8::{number}" for number in range(1, 100)]
    assert dial(ChangingHost([*many, "127.0.0.1"]), port, guard) == "127.0.0.1"


def test_what_was_judged_is_connected_to_whatever_dns_says_next(port: int) -> None:
    zone = ChangingHost(["127.0.0.1"], ["127.0.0.2"])
    guard = AllowedAddresses([ip_network("127.0.0.1/32")])
    assert dial(zone, port, guard) == "127.0.0.1"
    assert zone.asked == 1
    with pytest.raises(ForbiddenAddressError):
        dial(zone, port, guard)


@pytest.mark.parametrize("pinned", [None, ip_address("127.0.0.1")])
def test_names_and_routes_are_judged_alike(port: int, pinned: IPAddress | None) -> None:
    with pytest.raises(ForbiddenAddressError):
        dialer(ChangingHost(["127.0.0.1"]), AllowedAddresses(), ELSEWHERE, 1.0)(
            Target("mx.test", port, pinned=pinned)
        )


@pytest.mark.parametrize(
    "literal", ["127.0.0.1", "[127.0.0.1]", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1"]
)
def test_literals_are_judged_alike(port: int, literal: str) -> None:
    with pytest.raises(ForbiddenAddressError):
        dialer(ChangingHost([]), AllowedAddresses(), ELSEWHERE, 1.0)(Target(literal, port))


def test_forbidden_addresses_among_others_are_left_out(port: int) -> None:
    guard = AllowedAddresses([ip_network("127.0.0.1/32")])
    assert dial(ChangingHost(["127.0.0.2", "127.0.0.1", "10.0.0.1"]), port, guard) == "127.0.0.1"


def test_a_host_without_address_is_trouble(port: int) -> None:
    with pytest.raises(NameTroubleError):
        dial(ChangingHost([]), port)


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["127.0.0.3", "127.0.0.1"]])
def test_this_host_is_not_connected_to(port: int, addresses: list[str]) -> None:
    own_host = OwnHost("here.test", ChangingHost(["127.0.0.1"]))
    with pytest.raises(ForbiddenAddressError):
        dialer(ChangingHost(addresses), LOOPBACK, own_host, 1.0)(Target("mx.test", port))
