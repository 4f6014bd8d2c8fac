"""Reads the final HTTP answer with http.client, limits its octets, and detects where it was cut off.

RFC 9110, 15.2 (interim answers), RFC 9112, 8 (incomplete ones).
"""

from __future__ import annotations

import io
import socket
from http.client import HTTPException, HTTPResponse
from typing import Any, cast

from mxdeliv_app.mxdeliv import wire

# Interim answers before the final one. A few are usual (100, 103); a flood keeps a thread busy for nothing.
MOST_INTERIM = 10
# Octets of an answer, heads and chunks' frames included: http.client reads up to 64 KiB for the length of a
# chunk, and trailers without end.
MOST_OCTETS = 4 * wire.MAX_ANSWER_SIZE


class FinalResponse(HTTPResponse):
    """The final answer. http.client skips only a 100, and would take a 102 or 103 as the final answer."""

    _heads = 0

    def _read_status(self) -> tuple[str, int, str]:
        # Each head begins here, those that http.client reads over, too.
        self._heads += 1
        if self._heads > MOST_INTERIM + 1:
            raise HTTPException("too many interim answers")
        return super()._read_status()  # type: ignore[misc,no-any-return]

    def begin(self) -> None:
        super().begin()
        # RFC 9110, 15.2. A 101 is final: no other protocol was asked for, so what follows is not HTTP.
        while self.status // 100 == 1 and self.status != 101:
            self.headers = self.msg = None  # type: ignore[assignment]  # so that the next head is read
            super().begin()


class AnswerStream:
    """A file for http.client in place of a socket: the octets `came`, then what arrives over `connection`.

    Reading more than `MOST_OCTETS` raises `HTTPException`.
    """

    def __init__(self, connection: socket.socket, came: bytes = b"") -> None:
        self._octets = _Octets(came, connection.makefile("rb", buffering=0))

    @property
    def ended(self) -> bool:
        """Whether the connection ended, which http.client does not distinguish from the end of a header."""
        return self._octets.ended

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self._octets)


class _Octets(io.RawIOBase):
    def __init__(self, came: bytes, rest: io.RawIOBase) -> None:
        super().__init__()
        self.ended = False
        self._came = came
        self._rest = rest
        self._left = MOST_OCTETS - len(came)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if not self._came:
            count = cast("int | None", self._rest.readinto(buffer))
            self.ended = count == 0
            self._left -= count or 0
            if self._left < 0:
                raise HTTPException("the answer is too long")
            return count
        part, self._came = self._came[: len(buffer)], self._came[len(buffer) :]
        buffer[: len(part)] = part
        return len(part)

    def close(self) -> None:
        self._rest.close()
        super().close()
