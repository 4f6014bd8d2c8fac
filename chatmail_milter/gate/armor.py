"""ASCII armor (RFC 9580, 6.2): one `PGP MESSAGE`, from its first line to its last, white space aside.

Line by line around the Base64, in bulk through it. The checksum (CRC24) may be there or not, and is not
computed: RFC 9580, 6.1 forbids to refuse a message because of it.
"""

from __future__ import annotations

import re
from enum import Enum, auto

from chatmail_milter.gate.errors import RefusedError
from chatmail_milter.gate.stream import WHITE_SPACE, Base64, Sink

_BEGIN = b"-----BEGIN PGP MESSAGE-----"
_END = b"-----END PGP MESSAGE-----"
_CHECKSUM = re.compile(rb"=[A-Za-z0-9+/]{4}")

# RFC 9580, 6.2.2.1 and .2. GnuPG and Proton write them; nobody else's are known.
_HEADER = re.compile(rb"(?:Version|Comment): [^\x00-\x08\x0a-\x1f\x7f]*")
_HEADERS_MOST = 8

# Of the lines around the Base64, where real ones stay under 100 octets and are a handful.
_LINE_MOST = 256
_LINES_MOST = 64


class _At(Enum):
    BEGIN = auto()
    HEADERS = auto()
    BASE64 = auto()
    PADDING = auto()
    CHECKSUM = auto()
    END = auto()
    AFTER = auto()


class Armor:
    """A sink for armored text; the octets inside go on to `sink`. Armor headers only if `headers`."""

    def __init__(self, sink: Sink, *, headers: bool) -> None:
        self._sink = sink
        self._base64 = Base64(sink)
        self._headers_left = _HEADERS_MOST if headers else 0
        self._at = _At.BEGIN
        self._lines_left = _LINES_MOST
        self._line = b""  # the line that is not complete yet
        self._line_begins = True  # within the Base64: whether the next octet is the first of a line

    def feed(self, data: bytes) -> None:
        at = 0
        if self._at is _At.BEGIN and not self._line:
            data = data.lstrip(WHITE_SPACE)
        while at < len(data):
            at = self._feed_base64(data, at) if self._at is _At.BASE64 else self._feed_lines(data, at)

    def finish(self) -> None:
        if self._line:
            self._take(self._line)
        if self._at is not _At.AFTER:
            raise RefusedError("armor-truncated")
        self._sink.finish()

    def _feed_lines(self, data: bytes, at: int) -> int:
        """Takes lines from `data` until the Base64 begins or there are no more; where it stopped."""
        while at < len(data) and self._at is not _At.BASE64:
            if self._at is _At.AFTER:
                if data[at:].strip(WHITE_SPACE):
                    raise RefusedError("armor-after")
                return len(data)
            newline = data.find(b"\n", at)
            end = newline if newline >= 0 else len(data)
            if len(self._line) + end - at > _LINE_MOST:
                raise RefusedError("armor-line")
            self._line += data[at:end]
            at = end + 1
            if newline >= 0:
                line, self._line = self._line, b""
                self._take(line)
        return at

    def _feed_base64(self, data: bytes, at: int) -> int:
        """Takes Base64 until padding, checksum or last line; where it stopped."""
        equals = data.find(b"=", at)
        dash = data.find(b"-", at, equals if equals >= 0 else len(data))
        end = dash if dash >= 0 else equals if equals >= 0 else len(data)
        if end > at:
            self._base64.feed(data[at:end])
            self._line_begins = data[end - 1] == 0x0A
        if end < len(data):
            if dash >= 0:
                self._base64.close()
            self._at = _At.CHECKSUM if self._line_begins else _At.PADDING
        return end

    def _take(self, line: bytes) -> None:
        """One line around the Base64, whole, without its newline."""
        if not self._lines_left:
            raise RefusedError("armor-lines")
        self._lines_left -= 1
        _TAKE[self._at](self, line.rstrip(WHITE_SPACE))

    def _take_begin(self, line: bytes) -> None:
        if line != _BEGIN:
            raise RefusedError("armor-begin")
        self._at = _At.HEADERS

    def _take_header(self, line: bytes) -> None:
        if not line:
            self._at = _At.BASE64
        elif self._headers_left and _HEADER.fullmatch(line):
            self._headers_left -= 1
        else:
            raise RefusedError("armor-header")

    def _take_padding(self, line: bytes) -> None:
        if line not in (b"=", b"=="):
            raise RefusedError("base64")
        self._base64.pad(line)
        self._at = _At.CHECKSUM

    def _take_checksum(self, line: bytes) -> None:
        if line in (b"=", b"=="):
            # The padding alone on its line: so it comes out of a writer whose lines are not whole fours.
            self._take_padding(line)
        elif _CHECKSUM.fullmatch(line):
            self._base64.close()
            self._at = _At.END
        else:
            self._take_end(line)

    def _take_end(self, line: bytes) -> None:
        if line == _END:
            self._base64.close()
            self._at = _At.AFTER
        elif line:
            raise RefusedError("armor-end")


_TAKE = {
    _At.BEGIN: Armor._take_begin,
    _At.HEADERS: Armor._take_header,
    _At.PADDING: Armor._take_padding,
    _At.CHECKSUM: Armor._take_checksum,
    _At.END: Armor._take_end,
}
