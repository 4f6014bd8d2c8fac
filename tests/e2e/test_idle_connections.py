"""Idle connections of one address are limited, and other clients are not affected.

`make test-attacks` has the same with thousands of them.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Mapping
from concurrent.futures import Future

import pytest

from tests.attacks import strangers
from tests.chat import pgp, smtp
from tests.chat.deadline import at_once, until
from tests.chat.imap import new_account
from tests.lab.host import LabHost
from tests.lab.visitor import seen_as

# By port: connections of one IPv4 address, and of one IPv6 /64.
LIMITS = {25: (50, 50), 465: (150, 40), 587: (150, 40), 993: (20_000, 200), 443: (1000, 200)}
# Of these the first go to processes of their own.
FIRST, FIRST_48 = 4, 16
OVERFLOW = {25: 10125, 465: 10465, 587: 10587}
SHARED = "10.77.0.97"
MORE = 12  # tried above a limit


@pytest.fixture(scope="module", autouse=True)
def _routes(b: LabHost) -> Iterator[None]:
    with strangers.routes(b):
        yield


# (Those of 443 and 993 are more than a test can hold.)
@pytest.mark.parametrize("port", [25, 465, 587])
def test_one_ipv4_address(port: int, b: LabHost) -> None:
    most = LIMITS[port][0]
    with strangers.kept(strangers.ipv4(1), most + MORE, b, port):
        _as_many_as_may_be(b, port, most)


@pytest.mark.parametrize("port", LIMITS)
def test_one_ipv6_network(port: int, b: LabHost) -> None:
    most = LIMITS[port][1]
    with strangers.kept(strangers.addresses6(20), (most + MORE) // 20 + 1, b, port):
        _as_many_as_may_be(b, port, most)


@pytest.mark.parametrize("port", OVERFLOW)
def test_the_first_few_have_processes_of_their_own(port: int, b: LabHost) -> None:
    with strangers.kept(strangers.ipv4(2), FIRST + 1, b, port):
        # Others' processes soon end theirs, which is opened anew.
        until("one more than the first few of each", lambda: _there(b, port) == (2 * FIRST, 2), 20)


@pytest.mark.parametrize("port", OVERFLOW)
def test_an_ipv6_48_is_not_many_addresses(port: int, b: LabHost) -> None:
    with strangers.kept(strangers.networks6(FIRST_48 + 3), 1, b, port):
        until("three more than the first few", lambda: _there(b, port) == (FIRST_48, 3), 20)


@pytest.fixture(scope="module")
def silent(b: LabHost) -> Iterator[Mapping[int, Future[bytes]]]:
    """One more connection than the first few to each port: what the last is told until it is hung up on."""
    source = strangers.ipv4(1)[0]

    def told(port: int) -> bytes:
        with contextlib.ExitStack() as stack:
            for _ in range(FIRST):
                stack.enter_context(_connected(b.ip, port, source))
            last = stack.enter_context(_connected(b.ip, port, source))
            last.settimeout(80)
            return b"".join(iter(lambda: last.recv(4096), b""))

    with at_once(told, OVERFLOW) as waits:
        yield waits


@pytest.mark.parametrize("port", OVERFLOW)
def test_silence_among_many_ends_soon(port: int, silent: Mapping[int, Future[bytes]]) -> None:
    """Within seconds, where port 25 bears five minutes and submission one and a half."""
    said = silent[port].result()
    # On 465 it would greet after the handshake.
    assert said.startswith(b"220 ") or (port == 465 and said == b"")


@pytest.mark.parametrize("port", OVERFLOW.values())
def test_nobody_connects_to_the_others_processes_directly(port: int, b: LabHost) -> None:
    for address in (b.ip, b.host.ip6):
        with pytest.raises(TimeoutError), socket.create_connection((address, port), timeout=2):
            pass


def test_phones_behind_one_address_are_served_beside_silent_ones(b: LabHost) -> None:
    """What the first few do and what the others do is the same."""
    login = new_account(b)
    with seen_as(SHARED, b.ip), strangers.kept([SHARED], 3 * FIRST, b, 465) as tally:
        until("they are there", lambda: tally.open == 3 * FIRST, 20)
        reply = smtp.submit(b.ip, login, [login[0]], pgp.encrypted(login[0], login[0], pgp.message_id()))
    assert reply.code == 250, reply


def _connected(ip: str, port: int, source: str) -> socket.socket:
    return socket.create_connection((ip, port), timeout=20, source_address=(source, 0))


def _others_are_served(b: LabHost, port: int) -> bool:
    """From an address of our own, over a new connection."""
    context = smtp.any_certificate()
    with socket.create_connection((b.ip, port), timeout=20) as plain:
        if port in (25, 587):
            return plain.recv(512).startswith(b"220 ")
        with context.wrap_socket(plain) as session:
            if port == 443:
                session.sendall(f"GET / HTTP/1.1\r\nHost: {b.domain}\r\n\r\n".encode())
            return bool(session.recv(512))


def _as_many_as_may_be(b: LabHost, port: int, most: int) -> None:
    """So many connections of the strangers are there, never more, and others are served."""

    def looked() -> bool:
        there = sum(_there(b, port))
        assert there <= most
        return there == most

    # The host is asked, not who connects: that one may learn of an end after the next beginning.
    until("as many as may be are there", looked, 20)
    assert _others_are_served(b, port)
    looked()


def _there(b: LabHost, port: int) -> tuple[int, int]:
    """How many connections of the strangers are on a port, and on the port of others' processes."""
    asked = "ss --tcp --numeric --no-header state established"
    lines = b.run(f"{asked} '( sport = :{port} or sport = :{OVERFLOW.get(port, port)} )'").stdout.splitlines()
    theirs = [line.split() for line in lines if "10.78." in line or "2001:db8:78:" in line]
    here = sum(words[2].endswith(f":{port}") for words in theirs)
    return here, len(theirs) - here
