"""Peers that hang, dribble, talk nonsense or hang up: one attempt, then SMTP, and nobody else waits."""

from __future__ import annotations

import socket
import threading

import pytest

from tests.blackbox.raw_peer import (
    ADDRESS,
    HEAD,
    HTTPS,
    SMTP,
    Behaviour,
    Talk,
    dribbling,
    endless,
    hang,
    hang_after_request,
    raw_peer,
    then_close,
    then_hang,
    tls,
)
from tests.blackbox.relay_world import (
    NUMBERS,
    Peer,
    Seen,
    World,
    accept_all,
    deliver,
    lmtp,
)


def resetting(talk: Talk) -> None:
    talk.request()
    talk.reset()


def plain_http(talk: Talk) -> None:
    talk.connection.recv(65536)
    talk.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")


ILL: dict[str, tuple[Behaviour, bool, str]] = {
    "hangs in TLS": (hang, False, "tls-timeout"),
    "speaks no TLS": (plain_http, False, "tls"),
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
    "endless header": (endless(HEAD, b"X-More: of it\r\n"), True, "protocol"),
    "endless line": (endless(HEAD + b"X: ", b"x" * 1000), True, "protocol"),
    "endless 100s": (endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), True, "timeout"),
    "endless 103s": (endless(b"", b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n"), True, "timeout"),
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
def test_ill_peer_costs_one_attempt_then_smtp_and_nobody_else_waits(
    world: World, peer: Peer, domain: str, ill: str, name: str
) -> None:
    behaviour, encrypted, reason = ILL[name]
    context = tls(world.directory / "_peer.test.pem") if encrypted else None
    with raw_peer(ADDRESS, behaviour, context) as wrong:
        found: list[tuple[int, str]] = []
        waiting = threading.Thread(target=lambda: found.extend(deliver(world, f"ann@{ill}")))
        waiting.start()
        assert deliver(world, f"bob@{domain}") == [HTTPS]
        # Where the ill peer hangs, it still does.
        assert not (found and "timeout" in reason)
        waiting.join(20)
        assert found == [SMTP]
        assert world.peers_row(ill, "https", 1)["reasons"] == {reason: 1}
        assert wrong.connections == 1


def test_a_port_that_does_not_answer_or_is_closed(world: World, peer: Peer, ill: str) -> None:
    with socket.create_server((ADDRESS, 443), backlog=0) as silent:
        queued = [socket.socket() for _ in range(2)]
        for one in queued:  # the queue of a server that doesn't accept is full, and so the SYN is dropped
            one.setblocking(False)
            one.connect_ex(silent.getsockname())
        assert deliver(world, f"ann@{ill}") == [SMTP]
        for one in queued:
            one.close()
    assert world.peers_row(ill, "https", 1)["reasons"] == {"connect-timeout": 1}
    world.ctl("endpoints", "forget", ill)
    assert deliver(world, f"ann@{ill}") == [SMTP]
    assert world.peers_row(ill, "https", 2)["reasons"] == {"connect-timeout": 1, "connect": 1}


def test_hanging_domain_does_not_delay_another(world: World, peer: Peer, domain: str) -> None:
    hanging = f"_d{next(NUMBERS)}.test"
    world.dns.zone[hanging, "A"] = ["127.0.0.5"]
    with socket.create_server(("127.0.0.5", 443)) as _never_accepts:
        arrived = threading.Event()

        def script(seen: Seen) -> tuple[int, dict[str, str], bytes]:
            arrived.set()
            return accept_all(seen)

        peer.script = script
        with lmtp(world) as client:
            delivery = threading.Thread(target=client.deliver, args=(f"ann@{hanging}", f"bob@{domain}"))
            delivery.start()
            assert arrived.wait(10)
            assert not world.sink.taken, "while the hanging attempt goes on"
            delivery.join(20)
