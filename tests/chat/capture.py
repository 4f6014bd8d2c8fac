"""Peers that keep every octet of what a relay sends them: one with `/mxdeliv`, one that speaks only SMTP.

They answer as a chatmail server that takes everything. What is kept is what crossed, out of its TLS.
"""

from __future__ import annotations

import contextlib
import queue
import socketserver
import ssl
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from types import TracebackType

from tests.lab.plan import Host
from tests.lab.sockets import bound

_ACCEPTED = b"250 2.0.0 OK\r\n"


@dataclass(frozen=True)
class Captured:
    """A message as it crossed the wire; `head` is that of the HTTP request, or the SMTP commands."""

    head: bytes
    message: bytes


class Peer:
    """A capturing server at a host's address while the block runs; `captured` holds what came."""

    def __init__(
        self,
        host: Host,
        port: int,
        handler: type[socketserver.StreamRequestHandler],
        context: ssl.SSLContext | None = None,
    ) -> None:
        listening = bound(host, port)
        self._server = _Server((host.ip, port), handler, bind_and_activate=False)
        self._server.socket.close()
        self._server.socket = context.wrap_socket(listening, server_side=True) if context else listening
        self._thread = Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Peer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def next(self, seconds: float) -> Captured:
        """The next message that comes. Raises `queue.Empty` after so many seconds."""
        return self._server.captured.get(timeout=seconds)

    def nothing(self) -> bool:
        """Whether no message is left that nobody asked for."""
        return self._server.captured.empty()


def https_peer(host: Host, certificate: Path, key: Path) -> Peer:
    """A peer that takes messages at `/mxdeliv`."""
    return Peer(host, 443, _Https, _context(certificate, key))


def smtp_peer(host: Host, certificate: Path | None = None, key: Path | None = None) -> Peer:
    """A peer that takes messages on port 25; with STARTTLS if it has a certificate."""
    if certificate is None or key is None:
        return Peer(host, 25, _Smtp)
    context = _context(certificate, key)
    return Peer(host, 25, type("_Starttls", (_Smtp,), {"context": context}))


def _context(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, *arguments: object, **options: bool) -> None:
        super().__init__(*arguments, **options)  # type: ignore[arg-type]
        self.captured: queue.Queue[Captured] = queue.Queue()


class _Handler(socketserver.StreamRequestHandler):
    timeout = 60

    def keep(self, head: bytes, message: bytes) -> None:
        assert isinstance(self.server, _Server)
        self.server.captured.put(Captured(head, message))


class _Https(_Handler):
    def handle(self) -> None:
        head = b""
        while line := self.rfile.readline():
            head += line
            if line == b"\r\n":
                self._answer(head)
                head = b""

    def _answer(self, head: bytes) -> None:
        fields = dict(line.lower().split(b":", 1) for line in head.splitlines()[1:-1])
        message = self.rfile.read(int(fields[b"content-length"]))
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: ")
        self.wfile.write(b"%d\r\n\r\n%s" % (len(_ACCEPTED), _ACCEPTED))
        self.keep(head, message)


class _Smtp(_Handler):
    context: ssl.SSLContext | None = None

    def handle(self) -> None:
        self.wfile.write(b"220 peer.lab ESMTP\r\n")
        # Who doesn't like the certificate hangs up.
        with contextlib.suppress(OSError):
            self._converse()

    def _converse(self) -> None:
        offer, said = self.context, b""
        while line := self.rfile.readline():
            said += line
            verb = line[:4].upper()
            if verb == b"EHLO":
                keyword = b"250-STARTTLS\r\n" if offer else b""
                self.wfile.write(b"250-peer.lab\r\n250-8BITMIME\r\n" + keyword + b"250 SIZE 52428800\r\n")
            elif verb == b"STAR" and offer:
                self.wfile.write(b"220 2.0.0 Go ahead\r\n")
                self.request = offer.wrap_socket(self.request, server_side=True)
                self.setup()
                offer, said = None, b""
            elif verb == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                self._take(said)
            else:
                self.wfile.write(b"221 2.0.0 Bye\r\n" if verb == b"QUIT" else _ACCEPTED)

    def _take(self, said: bytes) -> None:
        message = b""
        while line := self.rfile.readline():
            if line == b".\r\n":
                self.keep(said, message)
                self.wfile.write(_ACCEPTED)
                return
            message += line.removeprefix(b".")
