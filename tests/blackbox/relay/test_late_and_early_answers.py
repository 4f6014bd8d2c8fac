"""Answers that come early, late, in odd framing or not at all, and which messages are sent again."""

from __future__ import annotations

import itertools
import threading

import pytest

from tests.blackbox.relay.installed_relay import (
    InstalledRelay,
    ScriptedPeer,
    deliver,
)
from tests.blackbox.relay.raw_peer import (
    ADDRESS,
    CLOSING,
    HEAD,
    HTTPS,
    OK,
    SMTP,
    Behaviour,
    PeerConnection,
    dribbling,
    hang,
    raw_peer,
    then_close,
    tls,
)

WELL: dict[str, Behaviour] = {
    "HTTP/1.0, and no goodbye of TLS": then_close(b"HTTP/1.0 200 OK\r\n\r\n250 2.0.0 OK\r\n"),
    "closes after each answer": then_close(CLOSING),
    "in chunks": then_close(HEAD + b"Transfer-Encoding: chunked\r\n\r\n4\r\n250 \r\n2\r\nOK\r\n0\r\n\r\n"),
    "100 first": then_close(b"HTTP/1.1 100 Continue\r\n\r\n" + OK),
    "102 and 103 first": then_close(
        b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n" + OK
    ),
    "lone line feeds": then_close(b"HTTP/1.1 200 OK\nContent-Length: 2\n\nOK"),
    "dribbles": dribbling(OK),
    "says less than it announced": then_close(HEAD + b"Content-Length: 999\r\n\r\n250 2.0.0 OK\r\n"),
}


@pytest.mark.parametrize("name", WELL)
def test_an_answer_counts_however_it_is_wrapped(
    relay: InstalledRelay, peer: ScriptedPeer, ill: str, name: str
) -> None:
    with raw_peer(ADDRESS, WELL[name], tls(relay.directory / "_peer.test.pem")):
        assert deliver(relay, f"ann@{ill}") == [HTTPS]
        assert deliver(relay, f"ann@{ill}") == [HTTPS]
    assert relay.sink.taken == []


@pytest.mark.parametrize("linger", [True, False])
def test_a_front_servers_413_is_heard_before_the_body_is_sent(
    relay: InstalledRelay, peer: ScriptedPeer, ill: str, linger: bool
) -> None:
    def refuse(talk: PeerConnection) -> None:
        talk.head()
        talk.say(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>")
        if linger:  # nginx reads on for a while, so that its answer isn't lost
            while talk.connection.recv(1 << 16):
                pass

    content = (b"x" * 70 + b"\r\n") * 400_000
    with raw_peer(ADDRESS, refuse, tls(relay.directory / "_peer.test.pem")):
        (found,) = deliver(relay, f"ann@{ill}", content=content)
    assert found == SMTP
    (reason,) = relay.peers_row(ill, "https", 1)["reasons"]
    assert reason in (["http-413"] if linger else ["http-413", "network"])


class TestKeptConnections:
    def test_closed_as_the_next_message_comes_costs_nothing(
        self, relay: InstalledRelay, peer: ScriptedPeer, ill: str
    ) -> None:
        bodies = []

        def behave(talk: PeerConnection) -> None:
            bodies.append(talk.request())
            talk.say(OK)
            talk.connection.recv(1)  # of the next request, which is not read

        with raw_peer(ADDRESS, behave, tls(relay.directory / "_peer.test.pem")) as once:
            for _ in range(3):
                assert deliver(relay, f"ann@{ill}") == [HTTPS]
            assert once.connections == 3
        assert len(bodies) == 3
        assert relay.sink.taken == []
        assert relay.peers_row(ill, "https", 3)["successes"] == 3

    def test_a_peer_that_dies_of_a_message_gets_it_twice_at_most(
        self, relay: InstalledRelay, peer: ScriptedPeer, ill: str
    ) -> None:
        died = []
        together = threading.Barrier(4, timeout=120)

        def behave(talk: PeerConnection) -> None:
            for number in itertools.count():
                body = talk.request()
                if b"poison" in body:
                    died.append(body)
                    return
                if number == 0:
                    together.wait()
                talk.say(OK)

        with raw_peer(ADDRESS, behave, tls(relay.directory / "_peer.test.pem")) as mortal:
            good = [threading.Thread(target=deliver, args=(relay, f"ann@{ill}")) for _ in range(4)]
            for one in good:
                one.start()
            for one in good:
                one.join(120)
            assert mortal.connections == 4
            assert deliver(relay, f"ann@{ill}", content=b"Subject: poison\r\n\r\n") == [SMTP]
        assert len(died) == 2

    def test_an_interim_answer_is_not_taken_for_that_of_the_next_message(
        self, relay: InstalledRelay, peer: ScriptedPeer, ill: str
    ) -> None:
        refusal = b"550 5.1.1 User unknown\r\n"
        finals = [OK, b"HTTP/1.1 422 Unknown\r\nContent-Length: %d\r\n\r\n%s" % (len(refusal), refusal), OK]

        def behave(talk: PeerConnection) -> None:
            for final in finals:
                talk.request()
                talk.say(b"HTTP/1.1 102 Processing\r\n\r\n")
                talk.gone.wait(0.1)  # so that it comes by itself
                talk.say(b"HTTP/1.1 103 Early Hints\r\nContent-Length: 8\r\n\r\n" + final)

        with raw_peer(ADDRESS, behave, tls(relay.directory / "_peer.test.pem")) as peculiar:
            found = [deliver(relay, f"ann@{ill}")[0] for _ in finals]
            assert found == [HTTPS, (550, "5.1.1 User unknown"), HTTPS]
            assert peculiar.connections == 1

    def test_what_a_peer_says_unasked_is_no_answer_to_the_next_message(
        self, relay: InstalledRelay, peer: ScriptedPeer, ill: str
    ) -> None:
        """Web servers say a 408 before they close a connection that nobody uses (RFC 9110, 15.5.9)."""
        said = threading.Event()

        def behave(talk: PeerConnection) -> None:
            talk.request()
            talk.say(OK)
            if talk.number == 1:
                talk.say(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
            said.set()
            hang(talk)

        with raw_peer(ADDRESS, behave, tls(relay.directory / "_peer.test.pem")) as impatient:
            assert deliver(relay, f"ann@{ill}") == [HTTPS]
            assert said.wait(120)
            assert deliver(relay, f"ann@{ill}") == [HTTPS]
            assert impatient.connections == 2
        assert relay.sink.taken == []
