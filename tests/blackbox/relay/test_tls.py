"""The relay's TLS to peers: what it verifies, and how few handshakes it makes."""

from __future__ import annotations

import ssl
import threading

import pytest

from tests.blackbox.certificate import make_certificate
from tests.blackbox.relay.installed_relay import NUMBERS, InstalledRelay, ScriptedPeer, deliver, lmtp
from tests.blackbox.relay.raw_peer import (
    ADDRESS,
    CLOSING,
    HTTPS,
    OK,
    SMTP,
    PeerConnection,
    raw_peer,
    then_close,
    tls,
)


def test_sessions_are_resumed_by_new_connections(relay: InstalledRelay, peer: ScriptedPeer, ill: str) -> None:
    with raw_peer(ADDRESS, then_close(CLOSING), tls(relay.directory / "_peer.test.pem")) as one:
        for _ in range(10):
            assert deliver(relay, f"ann@{ill}") == [HTTPS]
        assert one.resumed == [False] + [True] * 9


def test_sessions_of_tls_1_2_too(relay: InstalledRelay, peer: ScriptedPeer, ill: str) -> None:
    context = tls(relay.directory / "_peer.test.pem")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with raw_peer(ADDRESS, then_close(CLOSING), context) as one:
        for _ in range(5):
            assert deliver(relay, f"ann@{ill}") == [HTTPS]
        assert one.resumed == [False] + [True] * 4


def test_a_peer_with_a_new_certificate_is_shaken_hands_with_anew(
    relay: InstalledRelay, peer: ScriptedPeer, ill: str
) -> None:
    for _ in range(2):
        context = tls(relay.directory / "_peer.test.pem")  # which has other ticket keys each time
        with raw_peer(ADDRESS, then_close(CLOSING), context) as one:
            assert deliver(relay, f"ann@{ill}") == [HTTPS]
            assert one.resumed == [False]


def test_a_thousand_messages_need_a_few_handshakes(
    relay: InstalledRelay, peer: ScriptedPeer, ill: str
) -> None:
    bodies = []

    def serve(talk: PeerConnection) -> None:
        while True:
            bodies.append(talk.request())
            talk.say(OK)

    with raw_peer(ADDRESS, serve, tls(relay.directory / "_peer.test.pem")) as one:

        def send() -> None:
            with lmtp(relay) as client:
                for _ in range(125):
                    assert client.deliver(f"ann@{ill}") == [HTTPS]

        senders = [threading.Thread(target=send) for _ in range(8)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()  # of a thousand messages, each has a bound
        assert relay.peers_row(ill, "https", 1000)["successes"] == 1000
        assert len(bodies) == 1000, "each was sent once"
        assert one.connections <= 8
        assert one.resumed.count(False) <= 8


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")  # old it is, and that is the point
@pytest.mark.parametrize("name", ["old", "expired", "self-signed"])
def test_names_are_verified(relay: InstalledRelay, peer: ScriptedPeer, name: str) -> None:
    domain = f"d{next(NUMBERS)}.test"
    relay.dns.zone[domain, "A"] = [ADDRESS]
    certificate = relay.directory / f"{domain}.pem"
    make_certificate(certificate, (domain,), expired=name == "expired")
    context = tls(certificate)
    if name == "old":
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
        relay.ctl("route", "set", domain, "--no-verify")
    with raw_peer(ADDRESS, then_close(CLOSING), context):
        assert deliver(relay, f"ann@{domain}") == [SMTP]
        assert relay.peers_row(domain, "https", 1)["reasons"] == {"tls": 1}
