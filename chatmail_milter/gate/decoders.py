"""Streaming decoders of transfer encodings (RFC 2045, 6). They accept only what all programs decode alike.

Base64 (RFC 4648, 4) in lines of equal length; only the last line may be shorter. White space within a line,
or lines of different lengths, would let the Base64 text be laid out as readable words, so both are refused.
The first line's length gives the offsets of all line ends, which are compared in bulk. Base64 without any
line end is accepted, as one line.

Quoted-printable, in which gateways encode armor and the version part: printable ASCII, and `=` before two
hexadecimal digits or a line end.
"""

from __future__ import annotations

import binascii
import re

from chatmail_milter.gate.layers import WHITE_SPACE, RefusedError, Sink

_LINE_END = b"\r\n"


class Base64:
    """Decodes Base64 text and feeds the octets to `sink`.

    The caller passes padding to `pad`, not to `feed`: in armor an `=` may also begin the checksum.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._odd = b""  # up to three characters of an incomplete group of four
        self._held = b""  # a CR at the end of a chunk, whose LF may follow
        self._length: int | None = None  # of each line but the last; known when the first line has ended
        self._line_end = b""  # CRLF or LF, as after the first line
        self._column = 0  # characters in the current line so far
        self._over = False  # the last line has ended: only white space may follow

    @property
    def line_begins(self) -> bool:
        """Whether the decoder is at the beginning of a line."""
        return not self._column and not self._held

    def feed(self, data: bytes) -> None:
        """Decodes more text, without padding. Raises `RefusedError`, as all methods do."""
        if self._held:
            data, self._held = self._held + data, b""
        if data[-1:] == b"\r":
            data, self._held = data[:-1], b"\r"
        end = len(data.rstrip(WHITE_SPACE))
        if end:
            self._take_lines(data[:end])
        if end < len(data):
            self._take_space(data[end:])

    def pad(self, padding: bytes) -> None:
        """Takes the final `=` or `==`, at the end of the last line or on a line of its own."""
        if self._column and self._length is not None and self._column + len(padding) > self._length:
            raise RefusedError("base64-lines")
        text = self._odd + padding
        if len(text) != 4 or self._held:
            raise RefusedError("base64")
        self._odd = b""
        self._decode(text)

    def close(self) -> None:
        """Ends the text, which must consist of complete groups of four characters."""
        if self._odd or self._held:
            raise RefusedError("base64")

    def _take_lines(self, text: bytes) -> None:
        """Decodes text that does not end with white space."""
        if self._over:
            raise RefusedError("base64-lines")
        if self._length is None:
            if not self._column:
                text = text.lstrip(_LINE_END)
            newline = text.find(b"\n")
            if newline >= 0:
                self._line_end = _LINE_END if text[newline - 1 : newline] == b"\r" else b"\n"
                self._length = self._column + newline + 1 - len(self._line_end)
        size = len(text)
        if self._length is None:
            self._column += size
        else:
            first = self._length - self._column  # offset of the first line end
            width = len(self._line_end)
            stride = self._length + width
            ends = max(0, -((first - size) // stride))
            if text[first + width - 1 :: stride] != b"\n" * ends or (
                width == 2 and text[first::stride] != b"\r" * ends
            ):
                raise RefusedError("base64-lines")
            text = text.translate(None, _LINE_END)
            if len(text) != size - ends * width:
                raise RefusedError("base64-lines")
            self._column = size - first - (ends - 1) * stride - width if ends else self._column + size
        if self._odd:
            text = self._odd + text
        whole = len(text) & ~3
        self._odd = text[whole:]
        self._decode(text[:whole])

    def _take_space(self, space: bytes) -> None:
        """Takes the white space that follows the text so far."""
        if not self._column:
            if self._length is not None:
                self._over = True
            elif space.strip(_LINE_END):
                raise RefusedError("base64-lines")
            return
        if self._length is None:
            self._length = self._column
            self._line_end = _LINE_END if space.startswith(_LINE_END) else b"\n"
        if not space.startswith(self._line_end):
            raise RefusedError("base64-lines")
        self._over = self._column < self._length or len(space) > len(self._line_end)
        self._column = 0

    def _decode(self, text: bytes) -> None:
        try:
            octets = binascii.a2b_base64(text, strict_mode=True)
        except binascii.Error:
            raise RefusedError("base64") from None
        self._sink.feed(octets)


# RFC 2045, 6.7 (5) allows 76 octets per line. Some programs write more, up to the limit of RFC 5322, 2.1.1.
_LINE_MOST = 998
_MALFORMED = re.compile(rb"=(?!\r?\n|[0-9A-Fa-f]{2})|[^\t\r\n -~]")


class QuotedPrintable:
    """A sink for the encoded text; feeds the decoded octets to `sink`."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._line = b""  # the line that is not complete yet

    def feed(self, data: bytes) -> None:
        data = self._line + data
        end = data.rfind(b"\n") + 1
        self._line = data[end:]
        if len(self._line) > _LINE_MOST:
            raise RefusedError("quoted-printable")
        if end:
            self._decode(data[:end])

    def finish(self) -> None:
        if self._line:
            self._decode(self._line)
        self._sink.finish()

    def _decode(self, lines: bytes) -> None:
        if _MALFORMED.search(lines):
            raise RefusedError("quoted-printable")
        self._sink.feed(binascii.a2b_qp(lines))
