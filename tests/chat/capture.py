"""Peers that keep every octet of what a relay sends them: one with `/mxdeliv`, one that speaks only SMTP.

They answer as a chatmail server that takes everything, or refuses it. What is kept is what crossed, out of
its TLS.
"""

from __future__ import annotations

import contextlib
import queue
import socket
import socketserver
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import Any

from tests.chat.deadline import PATIENCE
from tests.lab.plan import Host
from tests.lab.sockets import bound

_ACCEPTED = b"250 2.0.0 OK\r\n"


@dataclass(frozen=True)
class Captured:
    """A message as it crossed the wire; `head` is that of the HTTP request, or EHLO and its SMTP commands."""

    head: bytes
    message: bytes

    def has(self, words: str) -> bool:
        """Whether these words are in it."""
        return words.encode() in self.head + self.message


class CapturingPeer:
    """A capturing server at a host's address while the block runs; `captured` holds what came."""

    def __init__(
        self,
        host: Host,
        port: int,
        handler: type[socketserver.StreamRequestHandler],
        context: ssl.SSLContext | None = None,
        address: str | None = None,
    ) -> None:
        listening = bound(host, port, address=address)
        self._server = _Server((host.ip, port), handler, bind_and_activate=False)
        self._server.socket.close()
        self._server.socket = context.wrap_socket(listening, server_side=True) if context else listening
        self._thread = Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._others: list[Captured] = []  # came, and nobody has asked for them yet

    def __enter__(self) -> CapturingPeer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def next(self, seconds: float, about: str) -> Captured:
        """The next message that comes and has `about` in it. Raises `queue.Empty` when it is late.

        Others are kept for who asks for them: messages come in any order, and whoever has mail waiting for
        this address brings it as soon as it listens.
        """
        end = time.monotonic() + seconds * PATIENCE
        while (found := self._taken(about)) is None:
            self._others.append(self._server.captured.get(timeout=max(0.0, end - time.monotonic())))
        return found

    def nothing(self, about: str) -> bool:
        """Whether no message has come that has `about` in it and nobody asked for."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._others.append(self._server.captured.get_nowait())
        return self._taken(about) is None

    def _taken(self, about: str) -> Captured | None:
        found = next((one for one in self._others if one.has(about)), None)
        if found is not None:
            self._others.remove(found)
        return found


def https_peer(
    host: Host,
    certificate: Path,
    key: Path,
    *,
    address: str | None = None,
    hold: Event | None = None,
    refusal: bytes | None = None,
) -> CapturingPeer:
    """A peer that takes messages at `/mxdeliv`, or refuses them all with these octets in a 403.

    While `hold` isn't set it answers none."""
    handler = type("_Answering", (_CapturingHttps,), {"hold": hold, "refusal": refusal})
    return CapturingPeer(host, 443, handler, _context(certificate, key), address)


def smtp_peer(
    host: Host, certificate: Path | None = None, key: Path | None = None, *, address: str | None = None
) -> CapturingPeer:
    """A peer that takes messages on port 25; with STARTTLS if it has a certificate."""
    context = None if certificate is None or key is None else _context(certificate, key)
    return CapturingPeer(host, 25, type("_Starttls", (_Smtp,), {"context": context}), address=address)


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
        self._open: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def close_request(self, request: Any) -> None:
        self._open.discard(request)
        super().close_request(request)

    def server_close(self) -> None:
        """Nobody listens any more, nor on connections that somebody keeps."""
        super().server_close()
        for one in list(self._open):
            with contextlib.suppress(OSError):
                # Not TLS's own: the thread that reads is to see an end.
                socket.socket.shutdown(one, socket.SHUT_RDWR)


class _Handler(socketserver.StreamRequestHandler):
    timeout = 60

    def keep(self, head: bytes, message: bytes) -> None:
        assert isinstance(self.server, _Server)
        self.server.captured.put(Captured(head, message))


class _CapturingHttps(_Handler):
    hold: Event | None = None
    refusal: bytes | None = None

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
        if b"x-mail-to" not in fields:  # what every chatmail server refuses, and is known by
            self.wfile.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
            return
        if self.hold is not None:
            # However long: whoever holds them lets them go, or the test ends, and this thread with it.
            self.hold.wait()
        status, body = (b"200 OK", _ACCEPTED) if self.refusal is None else (b"403 Forbidden", self.refusal)
        self.wfile.write(b"HTTP/1.1 %s\r\nContent-Type: text/plain\r\nContent-Length: " % status)
        self.wfile.write(b"%d\r\n\r\n%s" % (len(body), body))
        self.keep(head, message)


class _Smtp(_Handler):
    context: ssl.SSLContext | None = None

    def handle(self) -> None:
        self.wfile.write(b"220 peer.lab ESMTP\r\n")
        # Who doesn't like the certificate hangs up.
        with contextlib.suppress(OSError):
            self._converse()

    def _converse(self) -> None:
        offer, hello, said = self.context, b"", b""
        while line := self.rfile.readline():
            said += line
            verb = line[:4].upper()
            if verb == b"EHLO":
                hello, said = line, b""
                keyword = b"250-STARTTLS\r\n" if offer else b""
                self.wfile.write(b"250-peer.lab\r\n250-8BITMIME\r\n" + keyword + b"250 SIZE 52428800\r\n")
            elif verb == b"STAR" and offer:
                self.wfile.write(b"220 2.0.0 Go ahead\r\n")
                self.request = offer.wrap_socket(self.request, server_side=True)
                self.setup()
                offer, hello, said = None, b"", b""
            elif verb == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                self._take(hello + said)
                # Another message may come in the same session.
                said = b""
            else:
                if verb == b"RSET":
                    said = b""
                self.wfile.write(b"221 2.0.0 Bye\r\n" if verb == b"QUIT" else _ACCEPTED)

    def _take(self, said: bytes) -> None:
        message = b""
        while line := self.rfile.readline():
            if line == b".\r\n":
                self.keep(said, message)
                self.wfile.write(_ACCEPTED)
                return
            message += line.removeprefix(b".")
