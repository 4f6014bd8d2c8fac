"""A peer's connection, as SMTP, SMTP with STARTTLS, or HTTPS: opened, then one message after the other.

Plain sockets, which take little of the machine that is measured. Certificates are not looked at: it is the
server that is measured.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol, Self

PATIENCE = 30.0  # seconds for an answer
_READ = 1 << 16


class SessionRefusedError(Exception):
    """The server answered with something else than what was to come."""


@dataclass(frozen=True)
class Place:
    """`smtp:HOST:PORT`, `starttls:HOST:PORT` or `https:HOST:PORT`."""

    kind: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        kind, host, port = text.split(":")
        if kind not in SESSIONS:
            raise ValueError(f"name one of {', '.join(SESSIONS)}: no {kind}")
        return cls(kind, host, int(port))

    def __str__(self) -> str:
        return f"{self.kind}:{self.host}:{self.port}"


class BenchSession(Protocol):
    """One connection."""

    def send(self, sender: str, recipient: str, text: bytes, *, last: bool) -> None:
        """A message and its answer; the connection ends after the `last`. Raises `SessionRefusedError`."""


def opened(place: Place) -> BenchSession:
    """A connection, as far as it gets before there is a message. Raises `SessionRefusedError`, `OSError`."""
    return SESSIONS[place.kind](_connected(place))


class Smtp:
    """As peers do it: MAIL, RCPT and DATA in one piece (RFC 2920), the text with its end and QUIT too."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._got = b""
        self._expect(b"220")
        self._say(b"EHLO peer.lab\r\n", b"250")

    def send(self, sender: str, recipient: str, text: bytes, *, last: bool) -> None:
        self._socket.sendall(f"MAIL FROM:<{sender}>\r\nRCPT TO:<{recipient}>\r\nDATA\r\n".encode())
        for code in (b"250", b"250", b"354"):
            self._expect(code)
        self._say(text + b".\r\n" + (b"QUIT\r\n" if last else b""), b"250")
        if last:
            self._socket.close()

    def _say(self, words: bytes, code: bytes) -> None:
        self._socket.sendall(words)
        self._expect(code)

    def _expect(self, code: bytes) -> None:
        """Reads one reply, to its last line."""
        while True:
            line, newline, rest = self._got.partition(b"\n")
            if not newline:
                self._got += _more(self._socket, self._got)
                continue
            self._got = rest
            if line[3:4] != b"-":
                break
        if not line.startswith(code):
            raise SessionRefusedError(line.decode(errors="replace"))


class StartTls(Smtp):
    """The same in TLS (RFC 3207)."""

    def __init__(self, connected: socket.socket) -> None:
        super().__init__(connected)
        self._say(b"STARTTLS\r\n", b"220")
        self._socket = _secured(connected)
        self._say(b"EHLO peer.lab\r\n", b"250")


class Https:
    """`POST /mxdeliv` over HTTP/1.1."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = _secured(connected)

    def send(self, sender: str, recipient: str, text: bytes, *, last: bool) -> None:
        head = (
            f"POST /mxdeliv HTTP/1.1\r\nHost: peer.lab\r\nX-Mail-From: {sender}\r\nX-Mail-To: {recipient}\r\n"
            f"Content-Length: {len(text)}\r\n\r\n"
        )
        self._socket.sendall(head.encode() + text)
        got = b""
        while b"\r\n\r\n" not in got:
            got += _more(self._socket, got)
        answer, _, body = got.partition(b"\r\n\r\n")
        fields = dict(line.lower().split(b":", 1) for line in answer.split(b"\r\n")[1:])
        while len(body) < int(fields[b"content-length"]):
            body += _more(self._socket, body)
        if not answer.startswith(b"HTTP/1.1 200 "):
            raise SessionRefusedError(body.decode(errors="replace").strip())
        if last:
            self._socket.close()


SESSIONS: Mapping[str, type[Smtp | Https]] = MappingProxyType(
    {"smtp": Smtp, "starttls": StartTls, "https": Https}
)


def _connected(place: Place) -> socket.socket:
    made = socket.create_connection((place.host, place.port), timeout=PATIENCE)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def _secured(plain: socket.socket) -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(plain)


def _more(connected: socket.socket, so_far: bytes) -> bytes:
    more = connected.recv(_READ)
    if not more:
        raise SessionRefusedError(f"closed after {so_far!r}")
    return more
