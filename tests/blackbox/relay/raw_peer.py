"""A TLS server whose answers a test scripts octet by octet, as no HTTP library would send them."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.blackbox.relay.installed_relay import InstalledRelay, deliver

ADDRESS = "127.0.0.4"
# What the relay answers: by which road a message went.
SMTP = (250, "2.0.0 Ok: queued as SINK")
HTTPS = (250, "2.0.0 OK")

HEAD = b"HTTP/1.1 200 OK\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n250 OK\r\n"
CLOSING = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 8\r\n\r\n250 OK\r\n"


class PeerConnection:
    """One connection of the relay's to the peer. `gone`: the test is over."""

    def __init__(self, connection: socket.socket, gone: threading.Event, number: int) -> None:
        self.connection = connection
        self.gone = gone
        self.number = number  # of the connection, from 1
        self._buffer = b""

    def head(self) -> bytes:
        """The header of a request. Raises `EOFError` where there is none."""
        while b"\r\n\r\n" not in self._buffer:
            self._more()
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        return head

    def request(self) -> bytes:
        """A whole request; its body."""
        head = self.head().lower()
        length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
        while len(self._buffer) < length:
            self._more()
        body, self._buffer = self._buffer[:length], self._buffer[length:]
        return body

    def say(self, octets: bytes) -> None:
        self.connection.sendall(octets)

    def dribble(self, octets: bytes) -> None:
        """One octet at a time, until the relay has enough."""
        for octet in octets:
            if self.gone.wait(0.02):
                return
            self.say(bytes([octet]))

    def reset(self) -> None:
        """Close as a crashed host does."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    def _more(self) -> None:
        chunk = self.connection.recv(1 << 16)
        if not chunk:
            raise EOFError
        self._buffer += chunk


Behaviour = Callable[[PeerConnection], None]


class RawPeer:
    """The server, one thread a connection."""

    def __init__(self, address: str, behaviour: Behaviour, context: ssl.SSLContext | None) -> None:
        self.behaviour = behaviour
        self.connections = 0
        self.resumed: list[bool] = []
        self.gone = threading.Event()
        self._context = context
        self._listening = socket.create_server((address, 443))
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection, self.connections), daemon=True).start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        # Cut off by the relay, as is its right, or at the end of what it had to say.
        with contextlib.suppress(OSError, EOFError), contextlib.closing(connection):
            if self._context is not None:
                tls = self._context.wrap_socket(connection, server_side=True)
                self.resumed.append(bool(tls.session_reused))
                connection = tls
            with contextlib.closing(connection):
                self.behaviour(PeerConnection(connection, self.gone, number))

    def close(self) -> None:
        self.gone.set()
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()


# --- Behaviours ---


def hang(talk: PeerConnection) -> None:
    talk.gone.wait(600)


def hang_after_request(talk: PeerConnection) -> None:
    talk.request()
    hang(talk)


def then_hang(octets: bytes) -> Behaviour:
    def behave(talk: PeerConnection) -> None:
        talk.request()
        talk.say(octets)
        hang(talk)

    return behave


def then_close(octets: bytes) -> Behaviour:
    def behave(talk: PeerConnection) -> None:
        talk.request()
        talk.say(octets)

    return behave


def dribbling(octets: bytes) -> Behaviour:
    def behave(talk: PeerConnection) -> None:
        talk.request()
        talk.dribble(octets)

    return behave


def endless(head: bytes, more: bytes) -> Behaviour:
    def behave(talk: PeerConnection) -> None:
        talk.request()
        talk.say(head)
        while not talk.gone.is_set():
            talk.say(more * 100)

    return behave


def tls(certificate: Path) -> ssl.SSLContext:
    """A server's context."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@contextmanager
def raw_peer(address: str, behaviour: Behaviour, context: ssl.SSLContext | None) -> Iterator[RawPeer]:
    """A peer at `address`:443; without a context it speaks no TLS."""
    peer = RawPeer(address, behaviour, context)
    try:
        yield peer
    finally:
        peer.close()


def assert_one_attempt_then_smtp(
    relay: InstalledRelay, domain: str, behaviour: Behaviour, encrypted: bool, reason: str
) -> None:
    """A message to a peer of this behaviour goes by SMTP, after one connection, counted under `reason`."""
    context = tls(relay.directory / "_peer.test.pem") if encrypted else None
    with raw_peer(ADDRESS, behaviour, context) as wrong:
        assert deliver(relay, f"ann@{domain}") == [SMTP]
        assert relay.peers_row(domain, "https", 1)["reasons"] == {reason: 1}
        assert wrong.connections == 1
