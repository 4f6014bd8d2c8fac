"""Parser for ASCII armor (RFC 9580, 6.2): exactly one `PGP MESSAGE`, with nothing but white space around it.

Armor lines are parsed one by one, the Base64 between them in bulk. The CRC24 checksum is optional and not
verified: RFC 9580, 6.1 forbids refusing a message because of it. Armor headers are accepted from peers, whose
OpenPGP libraries add them, but not from our users: each header has room for 80 octets of readable text.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from chatmail_milter.gate.decoders import Base64
from chatmail_milter.gate.layers import NOBODY, WHITE_SPACE, Observer, RefusedError, Sink

_BEGIN = b"-----BEGIN PGP MESSAGE-----"
_END = b"-----END PGP MESSAGE-----"
_CHECKSUM = re.compile(rb"=[A-Za-z0-9+/]{4}")

# RFC 9580, 6.2.2, and MessageID from RFC 4880, 6.2; trailing space is stripped before the match. 80 octets of
# value: the longest that a program writes by default is Enigmail's Comment, with 58.
_HEADER = re.compile(rb"(Version|Comment|MessageID|Hash|Charset):(?: [^\x00-\x08\x0a-\x1f\x7f]{0,80})?")
# One per name. Names may repeat: GnuPG writes one Comment for each `comment` option.
_HEADERS_MOST = 5

# Octets and number of the lines around the Base64. Real messages have a handful, each under 100 octets.
_LINE_MOST = 256
_LINES_MOST = 64


class Armor:
    """A sink for armored text; feeds the decoded octets to `sink`. `headers`: accept armor headers."""

    def __init__(self, sink: Sink, *, headers: bool, observer: Observer = NOBODY) -> None:
        self._sink = sink
        self._base64 = Base64(sink)
        self._headers_left = _HEADERS_MOST if headers else 0
        self._observer = observer
        self._take: _Take = Armor._take_begin  # the handler of the next line
        self._in_base64 = False
        self._ended = False
        self._lines_left = _LINES_MOST
        self._line = b""  # the line that is not complete yet

    def feed(self, data: bytes) -> None:
        at = 0
        if self._take is Armor._take_begin and not self._line:
            data = data.lstrip(WHITE_SPACE)
            # RFC 9580, 4.2: the highest bit of a packet's first octet is set, so this is binary, not armor.
            if data and data[0] & 0x80:
                raise RefusedError("armor-begin")
        while at < len(data):
            at = self._feed_base64(data, at) if self._in_base64 else self._feed_lines(data, at)

    def finish(self) -> None:
        if self._line:
            self._take_line(self._line)
        if not self._ended:
            raise RefusedError("armor-truncated")
        self._sink.finish()

    def _feed_lines(self, data: bytes, at: int) -> int:
        """Consumes lines until the Base64 begins or `data` ends. Returns the offset of the rest."""
        while at < len(data) and not self._in_base64:
            if self._ended:
                if data[at:].strip(WHITE_SPACE):
                    raise RefusedError("armor-after")
                return len(data)
            newline = data.find(b"\n", at)
            end = newline if newline >= 0 else len(data)
            if len(self._line) + end - at > _LINE_MOST:
                raise RefusedError("armor-line")
            line = self._line + data[at:end]
            self._line = b"" if newline >= 0 else line
            if newline >= 0:
                self._take_line(line)
            at = end + 1
        return at

    def _feed_base64(self, data: bytes, at: int) -> int:
        """Consumes Base64 until padding, checksum or the last line. Returns the offset of the rest."""
        equals = data.find(b"=", at)
        dash = data.find(b"-", at, equals if equals >= 0 else len(data))
        end = dash if dash >= 0 else equals if equals >= 0 else len(data)
        if end > at:
            self._base64.feed(data[at:end])
        if end < len(data):
            if dash >= 0:
                self._base64.close()
            self._in_base64 = False
            self._take = Armor._take_checksum if self._base64.line_begins else Armor._take_padding
        return end

    def _take_line(self, line: bytes) -> None:
        """Handles one complete line outside the Base64, without its newline."""
        if not self._lines_left:
            raise RefusedError("armor-lines")
        self._lines_left -= 1
        take = self._take
        take(self, line.rstrip(WHITE_SPACE))

    def _take_begin(self, line: bytes) -> None:
        if line != _BEGIN:
            raise RefusedError("armor-begin")
        self._observer.armor()
        self._take = Armor._take_header

    def _take_header(self, line: bytes) -> None:
        if not line:
            self._in_base64 = True
            return
        header = _HEADER.fullmatch(line)
        if header is None or not self._headers_left:
            raise RefusedError("armor-header")
        self._headers_left -= 1
        self._observer.armor_header(header[1].decode())

    def _take_padding(self, line: bytes) -> None:
        if line not in (b"=", b"=="):
            raise RefusedError("base64")
        self._base64.pad(line)
        self._take = Armor._take_checksum

    def _take_checksum(self, line: bytes) -> None:
        if line in (b"=", b"=="):
            # Padding alone on its line: written when the line length is not a multiple of four.
            self._take_padding(line)
        elif _CHECKSUM.fullmatch(line):
            self._base64.close()
            self._observer.armor_checksum()
            self._take = Armor._take_end
        else:
            self._take_end(line)

    def _take_end(self, line: bytes) -> None:
        if line == _END:
            self._base64.close()
            self._ended = True
        elif line:
            raise RefusedError("armor-end")


_Take = Callable[[Armor, bytes], None]
