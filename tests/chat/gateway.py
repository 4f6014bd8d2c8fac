"""A gateway for notices to phones, as the public one is seen from a relay, or as one that is ill.

It speaks TLS, remembers what it is told, and does what its `script` says: answer, or something worse.
"""

from __future__ import annotations

import re
import socket
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path

_DEADLINE = 120.0  # seconds, for whatever should take milliseconds

# What a gateway does with a connection on which a whole request has come. True: the connection goes on.
Script = Callable[[ssl.SSLSocket], bool]


def answer(status: int, body: bytes = b"", *fields: str) -> Script:
    """An ordinary answer."""
    head = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", *fields]

    def script(connection: ssl.SSLSocket) -> bool:
        connection.sendall("\r\n".join([*head, "", ""]).encode() + body)
        return True

    return script


def says(octets: bytes) -> Script:
    """Anything, and then the connection is closed."""

    def script(connection: ssl.SSLSocket) -> bool:
        connection.sendall(octets)
        return False

    return script


def hang(connection: ssl.SSLSocket) -> bool:
    """Say nothing until the other one hangs up."""
    return bool(connection.recv(1)) and False


def drip(connection: ssl.SSLSocket) -> bool:
    """A header field that never ends, an octet at a time."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Long: ")
    connection.settimeout(0.02)
    while True:
        connection.sendall(b"x")
        try:
            if not connection.recv(1):
                return False
        except TimeoutError:
            pass


class Gateway:
    """Counts what it is told, and does what `script` says."""

    def __init__(self, listening: socket.socket, certificate: Path, key: Path | None = None) -> None:
        self.script: Script = answer(200)
        self.told: list[str] = []
        self.times: list[float] = []  # monotonic, of each
        self.requests: list[bytes] = []
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate, key)
        self._listening = listening
        self.port: int = listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                plain, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(plain,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        try:
            with self._context.wrap_socket(plain, server_side=True) as connection:
                connection.settimeout(_DEADLINE)
                while (request := _request(connection)) and self._script(connection, request):
                    pass
        except (OSError, ssl.SSLError):
            pass  # clients that go away, or don't like the certificate, are what some tests are about

    def _script(self, connection: ssl.SSLSocket, request: bytes) -> bool:
        script = self.script
        self.requests.append(request)
        self.times.append(time.monotonic())
        self.told.append(request.partition(b"\r\n\r\n")[2].decode())
        return script(connection)

    def close(self) -> None:
        # Closing alone doesn't wake who waits in accept().
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()


def _request(connection: ssl.SSLSocket) -> bytes:
    """A whole request, empty if none comes any more."""
    octets = b""
    while True:
        head, end, body = octets.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head) if end else None
        if length and len(body) >= int(length[1]):
            return octets
        more = connection.recv(1 << 16)
        if not more:
            return b""
        octets += more
