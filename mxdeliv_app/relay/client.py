"""POST over a guarded connection, by http.client: one request out, one answer in.

No redirect is followed, and nothing is kept of an answer but what is returned. http.client and not requests,
which costs a message two to three times the CPU on the same socket.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Iterator
from http.client import HTTPConnection, HTTPException, HTTPResponse, IncompleteRead
from typing import Any

from mxdeliv_app import wire
from mxdeliv_app.relay.connection import Connection, FinalResponse, must_be_replaced

_READ = 1 << 16
# Each slice of a body has the time of an answer to go out: a peer that stops reading is found out long before
# the deadline of a large message.
_SLICE = 1 << 17


class Client(HTTPConnection):
    """HTTP over what `guarded` opens: to http.client it looks like plain HTTP. For one thread at a time."""

    default_port = 443
    response_class = FinalResponse

    def __init__(self, guarded: Connection) -> None:
        super().__init__(guarded.target.host, guarded.target.port)
        self.guarded = guarded
        self.idle_since = 0.0
        self._behind = b""

    def connect(self) -> None:
        """Open the guarded connection. Raises what `dial` does, and `OSError`."""
        self.sock = self.guarded.open()

    def close(self) -> None:
        """Close it; the next POST would open it anew."""
        super().close()
        self.guarded.drop()

    def post(
        self, fields: Iterable[tuple[str, str]], message: bytes, sending: float, silence: float
    ) -> HTTPResponse:
        """The head of the answer to a POST of `message`; the body is to be read by `read`.

        `sending`: seconds for each slice of a large one to go out, `silence`: seconds without an octet of the
        answer. Raises what `connect` does, `HTTPException`, and `ValueError` for a field that can't be sent.
        """
        if self.sock is not None and must_be_replaced(self.sock):
            self.close()
        if self.sock is None:
            self.connect()
        small = len(message) <= _SLICE
        self.sock.settimeout(silence if small else sending)
        self.putrequest("POST", self.guarded.target.path)
        for name, value in fields:
            self.putheader(name, value)
        self.putheader("Content-Length", str(len(message)))
        try:
            if small:
                self._behind = message
                self.endheaders()
            else:
                self.endheaders(_slices(message))
        except (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
            # The peer stopped reading: it may have said why (413 of a front server).
            self._behind = b""
        if not small:
            self.sock.settimeout(silence)
        response = self.getresponse()
        self.guarded.answered()
        return response

    def read(self, response: HTTPResponse) -> tuple[bytes, str | None]:
        """The body, and why it ends too early, if it does. Raises if nothing of it came."""
        body, announced = b"", response.length
        try:
            # As it comes, or a peer that dribbles would keep from us what it has said already.
            while len(body) < wire.MAX_ANSWER_SIZE and len(body) != announced:
                wanted = _READ if announced is None else min(_READ, announced - len(body))
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

    def send(self, data: Any) -> None:
        """A small message goes out together with its header: one TLS record, one wake-up of the peer."""
        if self._behind:
            data, self._behind = data + self._behind, b""
        super().send(data)


def _slices(message: bytes) -> Iterator[memoryview]:
    view = memoryview(message)
    for start in range(0, len(view), _SLICE):
        yield view[start : start + _SLICE]
