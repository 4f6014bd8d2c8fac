"""Splits a multipart body (RFC 2046, 5.1) as it streams by, into parts and nothing besides.

Preamble and epilogue must be white space. A line that begins like a boundary and isn't exactly one is
refused, since programs disagree about it. Parts of parts are not looked for: no part may be a multipart.
Line ends are CRLF or LF; a lone CR is an octet like any other.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto

from chatmail_milter.gate.errors import RefusedError
from chatmail_milter.gate.fields import PartFields, part_fields
from chatmail_milter.gate.stream import WHITE_SPACE, Sink

# Of a part's header as a whole; what chat clients write stays under 400 octets.
_PART_HEADER_MOST = 8192
# Of a boundary line with the white space that may follow it: RFC 5322, 2.1.1.
_LINE_MOST = 998


class _At(Enum):
    PREAMBLE = auto()
    BOUNDARY = auto()  # at the first octet of what must be a boundary line
    HEADER = auto()
    BODY = auto()
    EPILOGUE = auto()


class Multipart:
    """A sink for the body of a multipart. `open_part` is asked for a sink for each part's body."""

    def __init__(self, boundary: bytes, open_part: Callable[[PartFields], Sink]) -> None:
        self._delimiter = b"--" + boundary
        self._newline_delimiter = b"\n" + self._delimiter
        self._open_part = open_part
        self._at = _At.PREAMBLE
        self._kept = b""  # octets that can't be judged without those that follow
        self._line_begins = True  # in the preamble: whether the next octet is the first of a line
        self._header: list[bytes] = []
        self._header_left = 0
        self._outside = "preamble"  # what is wrong when text stands where a boundary line should
        self._part: Sink
        self._lead = 0  # 1 while the first octet kept is the newline before the body, not of the body

    def feed(self, data: bytes) -> None:
        data = self._kept + data
        at = 0
        while True:
            before = self._at
            at = _STEPS[before](self, data, at)
            if self._at is before:
                break
        self._kept = data[at:]

    def finish(self) -> None:
        # The last boundary may end with the message, without a line end of its own.
        self.feed(b"\r\n")
        if self._at is not _At.EPILOGUE:
            raise RefusedError("multipart-truncated")

    # Each step takes what it can of `data` from `at` on, and returns how far it came. It is called again
    # with more data from there, or the next step is, if it changed `_at`.

    def _preamble(self, data: bytes, at: int) -> int:
        text = data[at:].lstrip(WHITE_SPACE)
        begin = len(data) - len(text)
        if begin > at:
            self._line_begins = data[begin - 1] == 0x0A
        if text:
            if not self._line_begins:
                raise RefusedError("preamble")
            self._at = _At.BOUNDARY
        return begin

    def _boundary(self, data: bytes, at: int) -> int:
        newline = data.find(b"\n", at)
        if (newline if newline >= 0 else len(data)) - at > _LINE_MOST:
            raise RefusedError(self._outside)
        if newline < 0:
            return at
        line = data[at:newline].rstrip(WHITE_SPACE)
        if line == self._delimiter:
            self._at = _At.HEADER
            self._header, self._header_left = [], _PART_HEADER_MOST
        elif line == self._delimiter + b"--":
            self._at = _At.EPILOGUE
        else:
            raise RefusedError(self._outside)
        return newline + 1

    def _part_header(self, data: bytes, at: int) -> int:
        while True:
            newline = data.find(b"\n", at)
            if (newline if newline >= 0 else len(data)) - at > self._header_left:
                raise RefusedError("part-header")
            if newline < 0:
                return at
            self._header_left -= newline - at
            line = data[at:newline].removesuffix(b"\r")
            if not line:
                self._part = self._open_part(part_fields(self._header))
                self._outside = "boundary-line"
                self._at, self._lead = _At.BODY, 1
                return newline
            if not line.strip(WHITE_SPACE):
                # A continuation line to some programs, the end of the header to others.
                raise RefusedError("part-header")
            self._header.append(line)
            at = newline + 1

    def _body(self, data: bytes, at: int) -> int:
        found = data.find(self._newline_delimiter, at)
        # RFC 2046, 5.1.1: the line end before a boundary is the boundary's. What may be the beginning of
        # one waits, and so does the CR before it.
        end = found if found >= 0 else len(data) - len(self._newline_delimiter)
        if found > at + self._lead and data[found - 1] == 0x0D:
            end -= 1
        if end > at + self._lead:
            self._part.feed(data[at + self._lead : end])
        if found >= 0:
            self._part.finish()
            self._at = _At.BOUNDARY
            return found + 1
        if end > at:
            self._lead = 0
        return max(at, end)

    def _epilogue(self, data: bytes, at: int) -> int:
        if data[at:].strip(WHITE_SPACE):
            raise RefusedError("epilogue")
        return len(data)


_STEPS: dict[_At, Callable[[Multipart, bytes, int], int]] = {
    _At.PREAMBLE: Multipart._preamble,
    _At.BOUNDARY: Multipart._boundary,
    _At.HEADER: Multipart._part_header,
    _At.BODY: Multipart._body,
    _At.EPILOGUE: Multipart._epilogue,
}
