"""A peer with malformed answers gets one attempt, then SMTP; a hanging one delays no other peer."""

from __future__ import annotations

import socket
import threading

import pytest

from tests.blackbox.relay.installed_relay import (
    NUMBERS,
    InstalledRelay,
    ScriptedPeer,
    SeenPost,
    accept_all,
    lmtp,
)
from tests.blackbox.relay.raw_peer import (
    HEAD,
    Behaviour,
    PeerConnection,
    assert_one_attempt_then_smtp,
    endless,
    then_close,
)


def resetting(talk: PeerConnection) -> None:
    talk.request()
    talk.reset()


def plain_http(talk: PeerConnection) -> None:
    talk.connection.recv(65536)
    talk.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")


ILL: dict[str, tuple[Behaviour, bool, str]] = {
    "speaks no TLS": (plain_http, False, "tls"),
    "endless header": (endless(HEAD, b"X-More: of it\r\n"), True, "protocol"),
    "endless line": (endless(HEAD + b"X: ", b"x" * 1000), True, "protocol"),
    "a 103 and no more": (then_close(b"HTTP/1.1 103 Early Hints\r\n\r\n"), True, "network"),
    "endless body": (endless(HEAD + b"\r\n", b"<html>" * 100), True, "http-200"),
    "endless yes": (endless(HEAD + b"\r\n", b"250 2.0.0 OK\r\n"), True, "http-200"),
    "another protocol": (then_close(b"220 mail.example.org ESMTP\r\n"), True, "protocol"),
    "noise": (then_close(bytes(range(256)) * 8), True, "protocol"),
    "no number for a length": (then_close(HEAD + b"Content-Length: x\r\n\r\n<p>"), True, "network"),
    "no number for a chunk": (
        then_close(HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"),
        True,
        "protocol",
    ),
    "closes after the request": (then_close(b""), True, "network"),
    "resets after the request": (resetting, True, "network"),
    "closes in the header": (then_close(HEAD + b"Content-"), True, "network"),
    "another protocol from then on": (
        then_close(b"HTTP/1.1 101 Switching Protocols\r\n\r\n"),
        True,
        "http-101",
    ),
    "no content": (then_close(b"HTTP/1.1 204 No Content\r\n\r\n"), True, "http-204"),
}


@pytest.mark.parametrize("name", ILL)
def test_ill_peer_costs_one_attempt_then_smtp(
    relay: InstalledRelay, peer: ScriptedPeer, ill: str, name: str
) -> None:
    assert_one_attempt_then_smtp(relay, ill, *ILL[name])


def test_hanging_domain_does_not_delay_another(
    relay: InstalledRelay, peer: ScriptedPeer, domain: str
) -> None:
    hanging = f"_d{next(NUMBERS)}.test"
    relay.dns.zone[hanging, "A"] = ["127.0.0.5"]
    with socket.create_server(("127.0.0.5", 443)) as never_accepts:
        arrived = threading.Event()

        def script(seen: SeenPost) -> tuple[int, dict[str, str], bytes]:
            arrived.set()
            return accept_all(seen)

        peer.script = script
        with lmtp(relay) as client:
            delivery = threading.Thread(target=client.deliver, args=(f"ann@{hanging}", f"bob@{domain}"))
            delivery.start()
            assert arrived.wait(120)
            assert not relay.sink.taken, "while the hanging attempt goes on"
            never_accepts.close()  # which resets those that wait there
            delivery.join(120)
