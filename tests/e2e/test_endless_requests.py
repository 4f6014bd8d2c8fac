"""Endless HTTPS requests of one network are limited, and other clients are served.

`make test-attacks` has the same with thousands of connections.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.attacks import strangers
from tests.chat import early_answer, journal
from tests.chat.deadline import at_once, until
from tests.chat.smtp import any_certificate
from tests.lab.host import LabHost

# Requests of one network (an IPv4 address, an IPv6 /64) at once; with a body of 1,000,000 octets or more, or
# of unknown length; of those, for one IPv6 /48.
OF_ONE, LARGE_OF_ONE, LARGE_OF_48 = 50, 16, 32
# Octets of bodies that don't fit in memory, in all.
DISK = 4_294_967_296
LARGEST = 75_497_472 + 2 * 1_048_576
MORE = 5  # tried above a limit
CHUNKED = "Transfer-Encoding: chunked"


@pytest.fixture(scope="module", autouse=True)
def _routes(b: LabHost) -> Iterator[None]:
    with strangers.routes(b):
        yield


@pytest.mark.parametrize(
    ("length", "most"),
    [
        (CHUNKED, LARGE_OF_ONE),
        ("Content-Length: 1000000", LARGE_OF_ONE),
        ("Content-Length: 75497472", LARGE_OF_ONE),
        ("Content-Length: 999999", OF_ONE),
        ("Content-Length: 500", OF_ONE),
    ],
)
def test_one_address(length: str, most: int, b: LabHost) -> None:
    with unfinished(b, strangers.ipv4(1) * (most + MORE), length) as peers:
        assert_refused(peers, MORE)
        served(b, strangers.ipv4(2)[1], CHUNKED)
        if most < OF_ONE:
            served(b, strangers.ipv4(1)[0], "Content-Length: 1")


def test_one_ipv6_network(b: LabHost) -> None:
    with unfinished(b, strangers.addresses6(LARGE_OF_ONE + MORE), CHUNKED) as peers:
        assert_refused(peers, MORE)
        served(b, strangers.networks6(1)[0], CHUNKED)


def test_networks_of_one_ipv6_48(b: LabHost) -> None:
    with unfinished(b, strangers.networks6(LARGE_OF_48 + MORE), CHUNKED) as peers:
        assert_refused(peers, MORE)
        served(b, strangers.ipv4(1)[0], CHUNKED)


def test_all_networks_together(b: LabHost) -> None:
    most = DISK * 3 // 4 // LARGEST
    with unfinished(b, strangers.ipv4(most + MORE), CHUNKED) as peers:
        assert_refused(peers, MORE)
        served(b, strangers.ipv4(1)[0], "Content-Length: 1")


def body_that_pauses(b: LabHost) -> bytes:
    with unfinished(b, strangers.ipv4(1), CHUNKED) as [peer]:
        peer.settimeout(100)
        return peer.recv(4096)[:12]


def header_that_does_not_end(b: LabHost) -> bytes:
    """However much of it still comes."""
    with connected(b, strangers.ipv4(1)[0]) as peer:
        peer.sendall(b"POST /mxdeliv HTTP/1.1\r\n")

        def ended() -> bool:
            try:
                peer.setblocking(True)
                peer.sendall(b"X-More: 1\r\n")
                peer.setblocking(False)
                return peer.recv(4096) == b""
            except ssl.SSLWantReadError:
                return False
            except OSError:
                return True

        until("nginx hangs up", ended, 60, every=1.0)
        return b""


Peer = Callable[[LabHost], bytes]
SLOW: tuple[Peer, ...] = (body_that_pauses, header_that_does_not_end)


@pytest.fixture(scope="module")
def ends(b: LabHost) -> Iterator[Mapping[Peer, Future[bytes]]]:
    with at_once(lambda peer: peer(b), SLOW) as waits:
        yield waits


@pytest.mark.parametrize("peer", SLOW, ids=[one.__name__ for one in SLOW])
def test_what_does_not_go_on_is_given_up(ends: Mapping[Peer, Future[bytes]], peer: Peer) -> None:
    # Hung up, or told so.
    assert ends[peer].result() in (b"", b"HTTP/1.1 408")


def test_a_header_larger_than_any_legal_one_is_refused(b: LabHost) -> None:
    header = b"POST /mxdeliv HTTP/1.1\r\n" + b"X-Mail-To: %b\r\n" % (b"a" * 900) * 400

    def answer() -> bytes:
        with from_there(b, strangers.ipv4(1)[0]) as plain:
            return early_answer.exchange(plain, b.domain, header)

    # A client that sends nothing for 5 s, as on a busy machine, is hung up on, and may lose the answer.
    assert until("it is answered", answer, 60).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("joined", [False, True])
def test_as_many_recipients_as_a_message_may_have_with_the_longest_names(joined: bool, b: LabHost) -> None:
    names = [f"{secrets.token_hex(6)}{number:052}@{b.domain}" for number in range(1000)]
    fields = ",".join(names) if joined else "\r\nX-Mail-To: ".join(names)
    with connected(b, somewhere()) as peer:
        peer.settimeout(200)
        peer.sendall(f"POST /mxdeliv HTTP/1.1\r\nHost: {b.domain}\r\nX-Mail-To: {fields}\r\n".encode())
        peer.sendall(b"Content-Length: 0\r\n\r\n")
        said = peer.recv(4096)
    assert said.startswith(b"HTTP/1.1 422 ")


def test_postfix_is_asked_no_more_once_the_peer_has_left(b: LabHost) -> None:
    """nginx hangs up on the app when its own client does, and the app on Postfix."""
    domain, since = f"{secrets.token_hex(6)}.lab", time.time()
    names = ",".join(f"{secrets.token_hex(6)}@{b.domain}" for _ in range(1000))
    b.run(f"systemctl kill --signal=STOP {b.postfix}.service")
    try:
        with connected(b, somewhere()) as peer:
            others = _held(b)
            fields = f"X-Mail-From: someone@{domain}\r\nX-Mail-To: {names}\r\nContent-Length: 2\r\n"
            peer.sendall(f"POST /mxdeliv HTTP/1.1\r\nHost: {b.domain}\r\n{fields}\r\n\r\n".encode())
            held = until("the app waits for Postfix", lambda: _held(b) - others, 30)
        # Not "nothing is held": mail of an earlier test that is tried again waits for Postfix as well.
        until("nginx has hung up", lambda: held - _held(b), 30)
    finally:
        b.run(f"systemctl kill --signal=CONT {b.postfix}.service")
    said = f"event=failed domain={domain} status=503 reason=body-cut"
    until("the app has noticed", lambda: any(said in one.text for one in journal.read(b, since)), 30)


def _held(host: LabHost) -> set[str]:
    """The connections on which nginx waits for an answer of the app: the inodes of nginx's ends."""
    lines = host.run("ss --unix --processes --no-header state established").stdout.splitlines()
    ends = {line.split()[4]: line.split()[6] for line in lines if '"nginx"' in line}
    theirs = {line.split()[4] for line in lines if "app.sock" in line}
    return {inode for inode, end in ends.items() if end in theirs}


def somewhere() -> str:
    """An address from which nobody has asked for unknown recipients yet: one is told of few."""
    return strangers.ipv4(60_000)[secrets.randbelow(60_000)]


def from_there(host: LabHost, source: str) -> socket.socket:
    target = host.host.ip6 if ":" in source else host.ip
    return socket.create_connection((target, 443), timeout=60, source_address=(source, 0))


def connected(host: LabHost, source: str) -> ssl.SSLSocket:
    return any_certificate().wrap_socket(from_there(host, source), server_hostname=host.domain)


@contextlib.contextmanager
def unfinished(host: LabHost, sources: Sequence[str], length: str) -> Iterator[list[ssl.SSLSocket]]:
    """A POST from each, of which the header and one octet of the body came.

    All begin at once: on a busy machine, nginx would give up the first before the last begins.
    """

    def begun(source: str) -> ssl.SSLSocket:
        peer = connected(host, source)
        peer.sendall(f"POST /mxdeliv HTTP/1.1\r\nHost: {host.domain}\r\n{length}\r\n\r\n1".encode())
        return peer

    with contextlib.ExitStack() as stack, ThreadPoolExecutor(len(sources)) as pool:
        yield [stack.enter_context(peer) for peer in pool.map(begun, sources)]


def heard(peer: ssl.SSLSocket) -> bytes:
    """What came so far of the answer: not TLS's own messages."""
    peer.setblocking(False)
    try:
        return peer.recv(4096)
    except ssl.SSLWantReadError:
        return b""


def assert_refused(peers: Sequence[ssl.SSLSocket], number: int) -> None:
    """That so many, and no more, were told to come again later: in the words of SMTP."""
    said: dict[ssl.SSLSocket, bytes] = {}

    def all_of_them() -> bool:
        for peer in peers:
            if more := heard(peer):
                said[peer] = said.get(peer, b"") + more
        return sum(b"\r\n\r\n450 4.7.1 " in one for one in said.values()) >= number

    until("so many are refused", all_of_them, 30)
    assert len(said) == number
    for one in said.values():
        assert one.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nRetry-After: " in one


def served(host: LabHost, source: str, length: str) -> None:
    """A POST that ends is answered by the app: it has no recipient."""
    with connected(host, source) as peer:
        peer.settimeout(60)
        body = "1\r\nx\r\n0\r\n\r\n" if length == CHUNKED else "x"
        peer.sendall(f"POST /mxdeliv HTTP/1.1\r\nHost: {host.domain}\r\n{length}\r\n\r\n{body}".encode())
        assert peer.recv(4096).startswith(b"HTTP/1.1 400 ")
