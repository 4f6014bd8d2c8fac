"""Buffers a small multipart and splits it into parts (RFC 2046, 5.1).

For delivery reports and setup messages, whose size is limited and whose parts depend on each other. Encrypted
messages are streamed by `mime`. Stricter than the RFC where programs read the same octets differently:
refuses a lone CR, and a line that begins like a boundary and isn't exactly one.
"""

from __future__ import annotations

import base64
import binascii
import quopri
import re
from dataclasses import dataclass

from chatmail_milter.gate.layers import WHITE_SPACE, RefusedError
from chatmail_milter.gate.mime_fields import part_fields
from chatmail_milter.gate.payload import IDENTITY

# Type of a part without Content-Type (RFC 2045, 5.2). Sendmail omits it for the text of its reports.
_DEFAULT_TYPE = "text/plain"
# Control characters that don't occur in text. Line ends, tab, form feed and ISO-2022-JP's ESC (RFC 1468) do.
_NOT_TEXT = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f]")
_DISPOSITION = re.compile(
    rb"^content-disposition[ \t]*:(?![ \t]*inline[ \t]*$)", re.IGNORECASE | re.MULTILINE
)
# (Some programs allow comments before the equals sign.)
_NAMED = re.compile(rb"[;\s](?:file)?name(?:\*[0-9*]*)?(?:[\s(][^=;]*)?=[ \t]*\"?([^;\"\n]*)", re.IGNORECASE)
# File names that every system opens as text or mail.
_HARMLESS_NAME = re.compile(rb"[A-Za-z0-9_ .-]{1,64}\.(?:txt|eml|dsn|msg)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Part:
    """A body part. `header`, `body`: as sent, with LF. `type`, `transfer_encoding`: in lower case."""

    header: bytes
    body: bytes
    type: str
    transfer_encoding: str

    @property
    def is_a_file(self) -> bool:
        """Whether programs may offer the part as a file: it has a name, or its disposition isn't inline."""
        return bool(_DISPOSITION.search(self.header) or _NAMED.search(self.header))

    @property
    def has_a_harmful_name(self) -> bool:
        """Whether its file name has an extension other than of text or mail."""
        return not all(_HARMLESS_NAME.fullmatch(name.strip()) for name in _NAMED.findall(self.header))

    def decoded(self) -> bytes:
        """The body with its transfer encoding undone. Raises `RefusedError`."""
        if self.transfer_encoding in IDENTITY:
            return self.body
        if self.transfer_encoding == "quoted-printable":
            return quopri.decodestring(self.body)
        if self.transfer_encoding == "base64":
            try:
                return base64.b64decode(self.body.translate(None, WHITE_SPACE), validate=True)
            except binascii.Error:
                raise RefusedError("base64") from None
        raise RefusedError("transfer-encoding")


class BufferedBody:
    """A sink that buffers at most `most` octets. Raises `RefusedError(reason)` when there are more."""

    def __init__(self, most: int, reason: str) -> None:
        self._left = most
        self._reason = reason
        self._chunks: list[bytes] = []

    def feed(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0:
            raise RefusedError(self._reason)
        self._chunks.append(data)

    def octets(self) -> bytes:
        """All octets, with CRLF turned into LF. Raises `RefusedError` for a CR without LF."""
        octets = b"".join(self._chunks).replace(b"\r\n", b"\n")
        if b"\r" in octets:
            raise RefusedError("line-end")
        return octets


def split(octets: bytes, boundary: bytes, preamble_most: int) -> list[Part]:
    """The parts of a multipart (lines end with LF). `preamble_most`: octets. Raises `RefusedError`."""
    pieces: list[bytes] = []
    begins = at = 0
    closed = False
    delimiter = b"--" + boundary
    while at < len(octets):
        end = octets.find(b"\n", at) + 1 or len(octets)
        if octets.startswith(delimiter, at):
            line = octets[at:end].rstrip(WHITE_SPACE)
            if closed or line not in (delimiter, delimiter + b"--"):
                raise RefusedError("boundary-line")
            # RFC 2046, 5.1.1: the line end before a boundary belongs to the boundary.
            pieces.append(octets[begins : max(begins, at - 1)])
            begins, closed = end, len(line) > len(delimiter)
        at = end
    if not closed:
        raise RefusedError("multipart-truncated")
    if octets[begins:].strip(WHITE_SPACE):
        raise RefusedError("epilogue")
    preamble, *parts = pieces
    if len(preamble) > preamble_most or not is_text(preamble):
        raise RefusedError("preamble")
    return [_part(piece) for piece in parts]


def is_text(octets: bytes) -> bool:
    """Whether the octets may be text in some charset: no binary control characters."""
    return _NOT_TEXT.search(octets) is None


def _part(octets: bytes) -> Part:
    if octets.startswith(b"\n"):
        return Part(b"", octets[1:], _DEFAULT_TYPE, "")
    header, blank, body = octets.partition(b"\n\n")
    # A header without a body: the part ends with the header's last line.
    header = header + b"\n" if blank else header.removesuffix(b"\n") + b"\n"
    fields = part_fields(header)
    return Part(header, body, fields.type, fields.transfer_encoding)
