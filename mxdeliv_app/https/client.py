"""POST over a guarded connection: one request out, one answer in, read by http.client.

No redirect is followed, and nothing is kept of an answer but what is returned. Not by requests, which costs a
message two to three times the CPU on the same socket.
"""

from __future__ import annotations

import io
import ssl
from collections.abc import Iterable, Iterator
from http.client import HTTPException, HTTPResponse, IncompleteRead
from typing import Any

from mxdeliv_app.https.answer import FinalResponse, Incoming
from mxdeliv_app.https.connection import Connection, must_be_replaced
from mxdeliv_app.https.target import Target
from mxdeliv_app.mxdeliv import wire

READ = 1 << 16
# Each slice of a body has the time of an answer to go out: a peer that stops reading is found out long before
# the deadline of a large message.
_SLICE = 1 << 17
ONE_RECORD = 1 << 14  # octets, RFC 8446, 5.1

Fields = Iterable[tuple[str, str]]


class Client:
    """HTTP over what `guarded` opens. For one thread at a time."""

    def __init__(self, guarded: Connection) -> None:
        self.guarded = guarded
        self.idle_since = 0.0
        self.answer_begun = False  # an octet of the answer to the last POST has come
        self.socket: ssl.SSLSocket | None = None

    def close(self) -> None:
        """Close it; the next POST would open it anew."""
        if self.socket is not None:
            self.socket.close()
            self.socket = None
        self.guarded.drop()

    def post(self, fields: Fields, message: bytes, sending: float, silence: float) -> HTTPResponse:
        """The head of the answer to a POST of `message`; the body is to be read by `read`.

        `sending`: seconds for each slice of a large one to go out, `silence`: seconds without an octet of the
        answer. Raises what `dial` does, `OSError`, `HTTPException`, and `ValueError` for a field that can't
        be sent.
        """
        self.answer_begun = False
        head = _head(self.guarded.target, fields, len(message))
        if self.socket is not None and must_be_replaced(self.socket):
            self.close()
        if self.socket is None:
            self.socket = self.guarded.open()
        try:
            if len(message) <= _SLICE:
                # One TLS record, one wake-up of the peer.
                self.socket.settimeout(silence)
                self.socket.sendall(head + message)
            else:
                self.socket.settimeout(sending)
                self.socket.sendall(head)
                for part in _slices(message):
                    self.socket.sendall(part)
        except (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
            pass  # The peer stopped reading: it may have said why (413 of a front server).
        return self.answer(silence)

    def post_now(self, fields: Fields, message: bytes) -> ssl.SSLSocket | None:
        """Send a POST of one TLS record without waiting; None if that can't be, and nothing was sent.

        The socket does not block from then on, until `answer`.
        """
        self.answer_begun = False
        if self.socket is None or must_be_replaced(self.socket):
            return None
        try:
            octets = _head(self.guarded.target, fields, len(message)) + message
            self.socket.settimeout(0)
            # Of a record that doesn't all go out the peer can read nothing.
            if len(octets) <= ONE_RECORD and self.socket.send(octets) == len(octets):
                return self.socket
        except (OSError, ValueError):
            pass  # `post` will meet it again
        return None

    def answer(self, silence: float, came: bytes = b"") -> HTTPResponse:
        """The head of the answer, of which `came` has come already; raises as `post` does."""
        if self.socket is None:
            raise ConnectionError
        self.socket.settimeout(silence)
        came = came or self.socket.recv(READ)
        if not came:
            raise ConnectionResetError
        self.answer_begun = True
        source = Incoming(self.socket, came)
        response = response_from(source)
        response.begin()
        # http.client takes the end of the connection for the end of the head, too.
        if source.ended:
            raise ConnectionResetError
        self.guarded.answered()
        return response

    def read(self, response: HTTPResponse) -> tuple[bytes, str | None]:
        """The body, and why it ends too early, if it does. Raises if nothing of it came."""
        body, announced = b"", response.length
        try:
            # As it comes, or a peer that dribbles would keep from us what it has said already.
            while len(body) < wire.MAX_ANSWER_SIZE and len(body) != announced:
                wanted = READ if announced is None else min(READ, announced - len(body))
                chunk = response.read1(wanted)
                if not chunk and announced is not None:
                    raise IncompleteRead(body, announced - len(body))
                if not chunk:
                    break
                body += chunk
        except (HTTPException, OSError) as error:
            if not body:
                raise
            return body, self.guarded.reason(error)
        return body, None


class Octets:
    """An answer that is all here, as http.client takes it."""

    def __init__(self, octets: bytes) -> None:
        self.file = io.BytesIO(octets)

    def makefile(self, _mode: str) -> io.BytesIO:
        return self.file


def response_from(source: Any) -> FinalResponse:
    """The answer that http.client reads from a socket or the like; `begin` reads its head."""
    return FinalResponse(source, method="POST")


def _head(target: Target, fields: Fields, size: int) -> bytes:
    """The head of a request (RFC 9112, 3). Raises `ValueError` for what can't stand in one."""
    lines = [
        f"POST {target.path} HTTP/1.1",
        f"Host: {target.authority}",
        *(f"{name}: {value}" for name, value in fields),
        f"Content-Length: {size}",
    ]
    if not all(map(str.isprintable, lines)):
        raise ValueError("not printable")
    return "\r\n".join([*lines, "", ""]).encode("ascii")


def _slices(message: bytes) -> Iterator[memoryview]:
    view = memoryview(message)
    for start in range(0, len(view), _SLICE):
        yield view[start : start + _SLICE]
