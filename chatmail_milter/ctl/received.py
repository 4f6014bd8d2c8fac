"""Changes a message in a file as Postfix would before our milter, if a client sent the file by SMTP.

These are the changes of smtpd(8) and cleanup(8) with our settings (postfix/main.cf, header checks):

- A bare LF ends a line like CRLF (smtpd_forbid_bare_newline = normalize), and a CR anywhere else is a space
  (cleanup_replace_stray_cr_lf). NULs go (message_strip_characters).
- Lines before the first that begin with `From `, as in an mbox, become a field `X-Mailbox-Line`; from Postfix
  3.10 on, only the first line does. Where the first other line begins with white space, the header is empty;
  from 3.10 on, after an mbox line it folds that.
- The header ends at an empty line or before a line that is no field, such as one with a byte order mark.
- A field is cut off at 60,000 octets; a folded line of it is kept whole or dropped.
- Fields that Postfix drops, by itself or by our header checks, are missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from chatmail_milter.gate.gate import Direction
from chatmail_milter.rules.outgoing import ALLOWED

Field = tuple[str, bytes]
# Major and minor number of a version of Postfix; what is said here was seen of 3.7 and 3.10.
Version = tuple[int, int]
OLDEST: Version = (3, 7)
_ONE_MBOX_LINE: Version = (3, 10)

# Postfix's line_length_limit: longer lines are read in pieces of that.
_PIECE = 2048
# Where milters are asked, cleanup(8) has no more of a field, whatever header_size_limit says.
_FIELD_MOST = 60_000
# What a milter gets at a time (MILTER_CHUNK_SIZE).
_CHUNK = 65_535
_NAME = re.compile(rb"([!-9;-~]+)[ \t]*:")
_MBOX_LINE = re.compile(rb">*From ")
_STRAY = bytes.maketrans(b"\r\n", b"  ")
# Postfix's message_drop_headers.
_DROPPED = frozenset(("bcc", "content-length", "resent-bcc", "return-path"))
# inbound_header_checks and submission_header_checks, which has the names of fields that stay.
_NOT_INBOUND = frozenset(("authentication-results",))


@dataclass(frozen=True, slots=True)
class Received:
    """`fields` in order, values with what stands after the colon; `body` can be read once, in chunks."""

    fields: tuple[Field, ...]
    body: Iterator[bytes]


@dataclass(frozen=True, slots=True)
class _Piece:
    """Of a line, as much as Postfix reads at a time; `ends`: the line ends with it."""

    text: bytes
    ends: bool


def receive(stream: BinaryIO, direction: Direction, postfix: Version = OLDEST) -> Received | None:
    """The message that `stream` holds, read as far as its body; None if the file is empty."""
    pieces = _sent(_lines(stream), one_mbox_line=postfix >= _ONE_MBOX_LINE)
    first = next(pieces, None)
    if first is None:
        return None
    fields: list[Field] = []
    field: _Field | None = None
    piece: _Piece | None = first
    continued = False
    while piece is not None:
        if field is not None and (continued or piece.text[:1] in (b" ", b"\t")):
            field.go_on(piece.text, folded=not continued)
        else:
            _add(fields, field, direction)
            field = _Field.begun(piece.text)
            if field is None:
                break
        continued = not piece.ends
        piece = next(pieces, None)
    _add(fields, field, direction)
    return Received(tuple(fields), _chunks(_body(piece, pieces)))


@dataclass(slots=True)
class _Field:
    """A field while its lines are read. `full`: Postfix would cut off the rest."""

    name: str
    parts: list[bytes]
    size: int
    full: bool = False

    @classmethod
    def begun(cls, text: bytes) -> _Field | None:
        """The field that this line begins, None if it begins none."""
        name = _NAME.match(text)
        if name is None:
            return None
        return cls(name[1].decode("ascii"), [text[name.end() :]], len(name[1]) + 1 + len(text) - name.end())

    def go_on(self, text: bytes, *, folded: bool) -> None:
        """One piece more of the line, or of the line after a fold."""
        if self.full:
            return
        if folded:
            text = b"\n" + text
        room = _FIELD_MOST - self.size
        if len(text) > room:
            self.full = True
            text = b"" if folded else text[:room]
        self.parts.append(text)
        self.size += len(text)


def _lines(stream: BinaryIO) -> Iterator[_Piece]:
    """The pieces of the file's lines, without their ends; the last line has one, too."""
    while piece := stream.readline(_PIECE):
        if piece[-1:] == b"\r" and len(piece) == _PIECE:
            # Rather than in the middle of a line's end, a piece ends after it.
            piece += stream.readline(1)
        if len(piece) > _PIECE and piece[-1:] != b"\n":
            yield _Piece(piece[:_PIECE], False)
            piece = piece[_PIECE:] + stream.readline(_PIECE - 1)
        whole = piece[-1:] == b"\n"
        yield _Piece(piece[:-1].removesuffix(b"\r") if whole else piece, whole or len(piece) < _PIECE)
    # (A last line of just so many whole pieces has no end here. It needs none.)


def _sent(pieces: Iterator[_Piece], *, one_mbox_line: bool) -> Iterator[_Piece]:
    """The pieces as smtpd(8) and cleanup(8) have made them records of the queue file."""
    first = True
    for piece in pieces:
        text = piece.text
        if first and _MBOX_LINE.match(text):
            text = b"X-Mailbox-Line: " + text
            first = not one_mbox_line
        elif first:
            first = False
            if text[:1] in (b" ", b"\t"):
                yield _Piece(b"", True)
        yield _Piece(text.replace(b"\0", b"").translate(_STRAY), piece.ends)


def _add(fields: list[Field], field: _Field | None, direction: Direction) -> None:
    if field is None:
        return
    name = field.name.lower()
    stays = name in _OUTGOING if direction is Direction.OUT else name not in _NOT_INBOUND
    if stays and name not in _DROPPED:
        fields.append((field.name, b"".join(field.parts)))


_OUTGOING = frozenset(name.decode() for name in ALLOWED)


def _body(piece: _Piece | None, pieces: Iterator[_Piece]) -> Iterator[bytes]:
    """The lines of the body with their ends, from the piece that ended the header on."""
    # The empty line that ends the header is no part of the body.
    if piece is not None and (piece.text or not piece.ends):
        yield piece.text + (b"\r\n" if piece.ends else b"")
    for one in pieces:
        yield one.text + (b"\r\n" if one.ends else b"")


def _chunks(lines: Iterator[bytes]) -> Iterator[bytes]:
    kept = bytearray()
    for line in lines:
        kept += line
        if len(kept) >= _CHUNK:
            yield bytes(kept[:_CHUNK])
            del kept[:_CHUNK]
    if kept:
        yield bytes(kept)
