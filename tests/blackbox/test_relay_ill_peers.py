"""Peers that hang, trickle, talk nonsense or hang up: one attempt, then SMTP, and nobody else waits."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable

import pytest

from tests.blackbox.relay_world import (
    MESSAGE,
    NUMBERS,
    Peer,
    Seen,
    World,
    accept_all,
    deliver,
    lmtp,
)


def hang_at_once(connection: socket.socket, gone: threading.Event) -> None:
    gone.wait(20)


def hang_after_tls(connection: socket.socket, gone: threading.Event) -> None:
    connection.recv(65536)
    gone.wait(20)


def trickle(connection: socket.socket, gone: threading.Event) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    while not gone.wait(0.2):
        connection.sendall(b"2")


def garbage(connection: socket.socket, gone: threading.Event) -> None:
    received = b""
    while not received.endswith(MESSAGE):  # closing with something unread would be a reset, not garbage
        received += connection.recv(65536)
    connection.sendall(b"220 mail.example.org ESMTP\r\n")


def close_after_request(connection: socket.socket, gone: threading.Event) -> None:
    connection.recv(65536)


@pytest.mark.parametrize(
    ("behaviour", "tls", "reason"),
    [
        (hang_at_once, False, "tls-timeout"),
        (hang_after_tls, True, "timeout"),
        (trickle, True, "timeout"),
        (garbage, True, "protocol"),
        (close_after_request, True, "network"),
    ],
)
def test_ill_peer_costs_one_attempt_and_then_goes_by_smtp(
    world: World,
    peer: Peer,
    behaviour: Callable[[socket.socket, threading.Event], None],
    tls: bool,
    reason: str,
) -> None:
    name = f"_d{next(NUMBERS)}.test"
    world.dns.zone[name, "A"] = ["127.0.0.4"]
    gone = threading.Event()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(world.directory / "_peer.test.pem")

    def serve(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        try:
            behaviour(context.wrap_socket(connection, server_side=True) if tls else connection, gone)
        except OSError:
            gone.set()  # cut by the relay, as is its right
        connection.close()

    with socket.create_server(("127.0.0.4", 443)) as listening:
        thread = threading.Thread(target=serve, args=(listening,), daemon=True)
        thread.start()
        (found,) = deliver(world, f"ann@{name}")
        gone.set()
        thread.join(10)
    assert found == (250, "2.0.0 Ok: queued as SINK")
    assert world.peers_row(name, "https", 1)["reasons"] == {reason: 1}


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
