"""A peer that hangs or dribbles gets one attempt with a time limit; then the message goes by SMTP."""

from __future__ import annotations

import socket
import time

import pytest

from tests.blackbox.relay.installed_relay import InstalledRelay, ScriptedPeer, deliver
from tests.blackbox.relay.raw_peer import (
    ADDRESS,
    HEAD,
    HTTPS,
    OK,
    SMTP,
    Behaviour,
    PeerConnection,
    assert_one_attempt_then_smtp,
    dribbling,
    endless,
    hang,
    hang_after_request,
    raw_peer,
    then_hang,
    tls,
)
from tests.chat.deadline import deadline


@pytest.fixture(scope="module")
def relay(hasty: InstalledRelay) -> InstalledRelay:
    return hasty


ILL: dict[str, tuple[Behaviour, bool, str]] = {
    "hangs in TLS": (hang, False, "tls-timeout"),
    "hangs before the request": (hang, True, "timeout"),
    "hangs after the request": (hang_after_request, True, "timeout"),
    "hangs in the status line": (then_hang(b"HTTP/1.1 2"), True, "timeout"),
    "hangs in the header": (then_hang(HEAD + b"Content-"), True, "timeout"),
    "hangs before the body": (then_hang(HEAD + b"Content-Length: 9\r\n\r\n"), True, "timeout"),
    "hangs in the body": (then_hang(HEAD + b"Content-Length: 9\r\n\r\n25"), True, "timeout"),
    "hangs in a chunk": (then_hang(HEAD + b"Transfer-Encoding: chunked\r\n\r\n9\r\n25"), True, "timeout"),
    "dribbles the header": (dribbling(HEAD + b"X: " + b"x" * 5000), True, "timeout"),
    "dribbles the body": (dribbling(HEAD + b"Content-Length: 999\r\n\r\n" + b"2" * 999), True, "timeout"),
    "dribbles and closes": (
        dribbling(HEAD + b"Connection: close\r\n\r\n" + b"2" * 999),
        True,
        "timeout",
    ),
    "endless 100s": (endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), True, "protocol"),
    "endless 103s": (endless(b"", b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n"), True, "protocol"),
}


@pytest.mark.parametrize("name", ILL)
def test_ill_peer_costs_one_attempt_then_smtp(
    relay: InstalledRelay, peer: ScriptedPeer, ill: str, name: str
) -> None:
    assert_one_attempt_then_smtp(relay, ill, *ILL[name])


def test_a_port_that_does_not_answer_or_is_closed(
    relay: InstalledRelay, peer: ScriptedPeer, ill: str
) -> None:
    with socket.create_server((ADDRESS, 443), backlog=0) as silent:
        queued = [socket.socket() for _ in range(2)]
        for one in queued:  # the queue of a server that doesn't accept is full, and so the SYN is dropped
            one.setblocking(False)
            one.connect_ex(silent.getsockname())
        assert deliver(relay, f"ann@{ill}") == [SMTP]
        for one in queued:
            one.close()
    assert relay.peers_row(ill, "https", 1)["reasons"] == {"connect-timeout": 1}
    relay.ctl("endpoints", "forget", ill)
    assert deliver(relay, f"ann@{ill}") == [SMTP]
    assert relay.peers_row(ill, "https", 2)["reasons"] == {"connect-timeout": 1, "connect": 1}


def test_an_answer_counts_that_says_what_it_has_to_and_then_hangs(
    relay: InstalledRelay, peer: ScriptedPeer, ill: str
) -> None:
    behaviour = then_hang(HEAD + b"Content-Length: 999\r\n\r\n250 2.0.0 OK\r\n")
    with raw_peer(ADDRESS, behaviour, tls(relay.directory / "_peer.test.pem")):
        assert deliver(relay, f"ann@{ill}") == [HTTPS]
    assert relay.sink.taken == []


def test_a_large_message_has_more_time_as_long_as_it_moves(
    relay: InstalledRelay, peer: ScriptedPeer, ill: str
) -> None:
    """8 s for any message here, and as much for each MiB; this one takes the peer at least 10 s."""

    def slowly(talk: PeerConnection) -> None:
        talk.head()
        received = 0
        while received < 3_000_000:
            received += len(talk.connection.recv(1 << 16))
            talk.gone.wait(0.055)  # of a TLS record, of which there are 183
        talk.say(OK)

    content = (b"x" * 70 + b"\r\n") * 41_667
    with raw_peer(ADDRESS, slowly, tls(relay.directory / "_peer.test.pem")):
        began = time.monotonic()
        assert deliver(relay, f"ann@{ill}", content=content) == [HTTPS]
        # The peer saw to that: else it would prove nothing.
        assert time.monotonic() - began > 9


def test_a_peer_that_stops_reading_a_large_message_is_left_as_soon_as_by_a_small_one(
    relay: InstalledRelay, peer: ScriptedPeer, ill: str
) -> None:
    def stop(talk: PeerConnection) -> None:
        talk.head()
        hang(talk)

    content = (b"x" * 70 + b"\r\n") * 400_000
    with (
        raw_peer(ADDRESS, stop, tls(relay.directory / "_peer.test.pem")),
        # A message of this size has 200 s if it moves.
        deadline("the peer is left", 30),
    ):
        assert deliver(relay, f"ann@{ill}", content=content) == [SMTP]
    assert relay.peers_row(ill, "https", 1)["reasons"] == {"timeout": 1}
