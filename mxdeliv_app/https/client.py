"""An HTTP client for POST over a guarded connection; http.client parses the answers.

Follows no redirect. (The library requests costs a message two to three times the CPU on the same socket.)
"""

from __future__ import annotations

import io
import ssl
from collections.abc import Iterable, Iterator
from http.client import HTTPException, HTTPResponse, IncompleteRead
from typing import Any

from mxdeliv_app.https.answer import AnswerStream, FinalResponse
from mxdeliv_app.https.connection import Connection, Target, must_be_replaced
from mxdeliv_app.https.spooled import Octets, SpooledOctets
from mxdeliv_app.mxdeliv import wire

READ = 1 << 16
# Each slice of a body has the time of an answer to go out: a peer that stops reading is found out long before
# the deadline of a large message.
_SLICE = 1 << 17
ONE_RECORD = 1 << 14  # octets, RFC 8446, 5.1

Fields = Iterable[tuple[str, str]]


class HttpsClient:
    """HTTP over the connection that `guarded` opens. For one thread at a time."""

    def __init__(self, guarded: Connection) -> None:
        self.guarded = guarded
        self.idle_since = 0.0
        self.answer_begun = False  # an octet of the answer to the last POST has come
        self.socket: ssl.SSLSocket | None = None

    def close(self) -> None:
        """Closes the connection. The next POST opens a new one."""
        if self.socket is not None:
            self.socket.close()
            self.socket = None
        self.guarded.drop()

    def post(self, fields: Fields, message: Octets, sending: float, silence: float) -> HTTPResponse:
        """Sends a POST of `message`; returns the header of the answer. `read` reads the body.

        `sending`: seconds in which each slice of a large message must be sent. `silence`: seconds without an
        octet of the answer. Raises what `dial` raises, `OSError`, `HTTPException`, and `ValueError` for an
        invalid header field.
        """
        self.answer_begun = False
        head = _head(self.guarded.target, fields, len(message))
        if self.socket is not None and must_be_replaced(self.socket):
            self.close()
        if self.socket is None:
            self.socket = self.guarded.open()
        try:
            if isinstance(message, bytes) and len(message) <= _SLICE:
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
        """Sends a POST of one TLS record without waiting. None if that is impossible; then nothing was sent.

        The socket is non-blocking until `answer`.
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
        """The header of the answer, whose first octets are `came`. Raises the same as `post`."""
        if self.socket is None:
            raise ConnectionError
        self.socket.settimeout(silence)
        came = came or self.socket.recv(READ)
        if not came:
            raise ConnectionResetError
        self.answer_begun = True
        source = AnswerStream(self.socket, came)
        response = response_from(source)
        response.begin()
        # http.client takes the end of the connection for the end of the head, too.
        if source.ended:
            raise ConnectionResetError
        self.guarded.answered()
        return response

    def read(self, response: HTTPResponse) -> tuple[bytes, str | None]:
        """The body, and why it is cut off, or None if complete. Raises if nothing of it arrived."""
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


class BufferedAnswer:
    """A complete answer in memory, as a socket for http.client."""

    def __init__(self, octets: bytes) -> None:
        self.file = io.BytesIO(octets)

    def makefile(self, _mode: str) -> io.BytesIO:
        return self.file


def response_from(source: Any) -> FinalResponse:
    """An answer for http.client to read from a socket or the like; `begin` reads its header."""
    return FinalResponse(source, method="POST")


def _head(target: Target, fields: Fields, size: int) -> bytes:
    """The request line and header (RFC 9112, 3). Raises `ValueError` for invalid values."""
    lines = [
        f"POST {target.path} HTTP/1.1",
        f"Host: {target.authority}",
        *(f"{name}: {value}" for name, value in fields),
        f"Content-Length: {size}",
    ]
    if not all(map(str.isprintable, lines)):
        raise ValueError("not printable")
    return "\r\n".join([*lines, "", ""]).encode("ascii")


def _slices(message: Octets) -> Iterator[bytes | memoryview]:
    if isinstance(message, SpooledOctets):
        yield from message.slices(_SLICE)
        return
    view = memoryview(message)
    for start in range(0, len(view), _SLICE):
        yield view[start : start + _SLICE]
