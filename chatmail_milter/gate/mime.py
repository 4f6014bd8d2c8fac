"""Streaming parser for a multipart body (RFC 2046, 5.1) that must have exactly the expected parts.

Preamble and epilogue must be white space; a preamble may also be a text from a given list. A line that begins
like a boundary and isn't exactly one is refused, because programs disagree about it. No part may itself be a
multipart. Lines end with CRLF or LF. A lone CR ends no line, and is refused where some programs say it does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from chatmail_milter.gate.layers import NOBODY, WHITE_SPACE, Observer, RefusedError, Sink
from chatmail_milter.gate.mime_fields import PART_HEADER_MOST, part_fields

# Octets of a boundary line with trailing white space: RFC 5322, 2.1.1.
_LINE_MOST = 998
# Octets of a preamble: more than any text in `shapes.PREAMBLES`.
_PREAMBLE_MOST = 256


@dataclass(frozen=True, slots=True)
class ExpectedPart:
    """An expected part: its media type, and a factory from transfer encoding to the body's sink."""

    type: str
    open: Callable[[str], Sink]


class Multipart:
    """A sink for the body of a multipart with exactly the `expected` parts, in that order.

    `strict`: see `mime_fields`. `preambles`: texts, trimmed and with LF, that may precede the first boundary.
    """

    def __init__(
        self,
        boundary: bytes,
        expected: Sequence[ExpectedPart],
        observer: Observer = NOBODY,
        *,
        strict: bool = True,
        preambles: frozenset[bytes] = frozenset(),
    ) -> None:
        self._delimiter = b"--" + boundary
        self._newline_delimiter = b"\n" + self._delimiter
        self._expected = expected
        self._observer = observer
        self._strict = strict
        self._preambles = preambles
        self._step: _Step = Multipart._preamble
        self._kept = b""  # octets that can't be parsed before the next chunk arrives
        self._known = 0  # how many octets at the beginning of the data were searched before, without a match
        self._line_begins = True  # in the preamble: whether the next octet is the first of a line
        self._outside = "preamble"  # reason slug for text where a boundary line is expected
        self._parts = 0
        self._part: Sink
        self._lead = 0  # 1 while the first kept octet is the newline before the body

    def feed(self, data: bytes) -> None:
        self._known = len(self._kept)
        data = self._kept + data
        at = 0
        while True:
            step = self._step
            at = step(self, data, at)
            if self._step is step:
                break
        self._kept = data[at:]

    def finish(self) -> None:
        # The message may end right after the last boundary, without a line end.
        self.feed(b"\r\n")
        if self._step is not Multipart._epilogue:
            raise RefusedError(
                self._outside if self._step is Multipart._preamble_text else "multipart-truncated"
            )
        if self._parts != len(self._expected):
            raise RefusedError("part-count")

    # States. Each consumes what it can of `data` from offset `at`, and returns the offset where it stopped.
    # It sets `_step` to enter another state; else it is called again from there, with more data.

    def _preamble(self, data: bytes, at: int) -> int:
        text = data[at:].lstrip(WHITE_SPACE)
        begin = len(data) - len(text)
        if begin > at:
            self._line_begins = data[begin - 1] == 0x0A
        if text and text[0] != 0x2D:
            self._step = Multipart._preamble_text
        elif text:
            if not self._line_begins:
                raise RefusedError("preamble")
            self._step = Multipart._boundary
        return begin

    def _preamble_text(self, data: bytes, at: int) -> int:
        """Consumes preamble text, up to the newline before the first boundary."""
        end = data.find(self._newline_delimiter, at)
        if (end if end >= 0 else len(data)) - at > _PREAMBLE_MOST or not self._preambles:
            raise RefusedError("preamble")
        if end < 0:
            return at
        if data[at:end].replace(b"\r\n", b"\n").rstrip(WHITE_SPACE) not in self._preambles:
            raise RefusedError("preamble")
        self._step = Multipart._boundary
        return end + 1

    def _boundary(self, data: bytes, at: int) -> int:
        newline = data.find(b"\n", at)
        if (newline if newline >= 0 else len(data)) - at > _LINE_MOST:
            raise RefusedError(self._outside)
        if newline < 0:
            return at
        line = data[at:newline].removesuffix(b"\r").rstrip(b" \t")
        if line == self._delimiter:
            self._step = Multipart._part_header
            return newline
        if line == self._delimiter + b"--":
            self._step = Multipart._epilogue
            return newline + 1
        raise RefusedError(self._outside)

    def _part_header(self, data: bytes, at: int) -> int:
        """Consumes a part's header with the empty line after it; `at` is the newline before the header."""
        most = at + PART_HEADER_MOST
        since = max(at, self._known - 2)
        crlf = data.find(b"\n\r\n", since, most)
        end = data.find(b"\n\n", since, crlf + 1 if crlf >= 0 else most)
        if end < 0:
            end = crlf
        if end < 0:
            if len(data) >= most:
                raise RefusedError("part-header")
            return at
        self._open_part(data[at + 1 : end + 1])
        self._outside = "boundary-line"
        self._step, self._lead = Multipart._body, 1
        return end + 2 if end == crlf else end + 1

    def _open_part(self, header: bytes) -> None:
        fields = part_fields(header, self._strict)
        self._observer.part(fields.type, fields.transfer_encoding)
        if self._parts == len(self._expected):
            raise RefusedError("part-count")
        expected = self._expected[self._parts]
        self._parts += 1
        if fields.type != expected.type:
            raise RefusedError("part-type")
        self._part = expected.open(fields.transfer_encoding)

    def _body(self, data: bytes, at: int) -> int:
        found = data.find(self._newline_delimiter, at)
        # RFC 2046, 5.1.1: the line end before a boundary belongs to the boundary. Octets that may begin a
        # boundary, with a CR before them, are kept until the next chunk.
        end = found if found >= 0 else len(data) - len(self._newline_delimiter)
        begin = at + self._lead
        if found > begin and data[found - 1] == 0x0D:
            end -= 1
        if end > begin:
            self._observer.octets_of_part(end - begin)
            self._part.feed(data[begin:end])
        if found >= 0:
            self._part.finish()
            self._step = Multipart._boundary
            return found + 1
        if end > at:
            self._lead = 0
        return max(at, end)

    def _epilogue(self, data: bytes, at: int) -> int:
        if data[at:].strip(WHITE_SPACE):
            raise RefusedError("epilogue")
        return len(data)


_Step = Callable[[Multipart, bytes, int], int]
