r"""Converts the body of `POST /mxdeliv` to SMTP's DATA: CRLF line ends, dot-stuffed (RFC 5321, 4.5.2).

madmail sends the body raw, filtermail sends it dot-stuffed, and nothing in the request says which. It is
taken as stuffed if every line that begins with `.` begins with `..`. That is certain only at the first line
with a single dot, or at the end. Before the first `..` line, both forms are the same octets, so the body is
streamed up to there; the rest is buffered (on disk beyond `HELD_IN_MEMORY`) until a line with a single dot,
or the end, decides. PGP messages, nearly all mail here, have no such line.

A stuffed body is passed on as it is. No output can be taken for the end of the data by any SMTP server: each
`\n` becomes `\r\n`, each `\r` without `\n` a space (as Postfix does on port 25), and no line is a single dot.
No I/O besides the buffer.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator
from typing import IO, Self

HELD_IN_MEMORY = 1 << 18
# Not /tmp, which may be in memory.
_DIRECTORY = "/var/tmp"  # noqa: S108
_PIECE = 1 << 16

_BARE_LF = re.compile(rb"(?<!\r)\n")
_BARE_CR = re.compile(rb"\r(?!\n)")
_SINGLE_DOT = re.compile(rb"\r\n\.[^.]")


def stuffed(message: bytes) -> bytes:
    """A message with CRLF line ends as SMTP DATA, without the final dot. Ends its last line, if need be."""
    data = _with_dots(message)
    return data if data.endswith(b"\r\n") else data + b"\r\n"


def stuffed_pieces(message: Iterable[bytes]) -> Iterator[bytes]:
    """The same for a message in pieces of any size. Buffers a line, and a piece."""
    held = bytearray()
    for piece in message:
        searched = max(len(held) - 1, 0)
        held += piece
        # The last line stays: it may lack its end.
        cut = held.rfind(b"\n", searched, -1) + 1
        if cut:
            yield _with_dots(bytes(held[:cut]))
            del held[:cut]
    yield stuffed(bytes(held))


def _with_dots(lines: bytes) -> bytes:
    """Whole lines, with another dot before each that begins with one."""
    data = b"." + lines if lines.startswith(b".") else lines
    # Also behind a lone LF, which some servers take for the end of a line.
    return data.replace(b"\n.", b"\n..")


class Lines:
    """Converts line ends to CRLF, for chunks of any size. Buffers at most one octet."""

    def __init__(self) -> None:
        self._held_cr = b""

    def feed(self, chunk: bytes) -> bytes:
        """Converts a chunk."""
        data = self._held_cr + chunk
        self._held_cr = b"\r" if data.endswith(b"\r") else b""
        if self._held_cr:
            data = data[:-1]
        # Counting first is much cheaper than the two substitutions, which most messages don't need.
        pairs = data.count(b"\r\n")
        if data.count(b"\r") != pairs:
            data = _BARE_CR.sub(b" ", data)
        if data.count(b"\n") != pairs:
            data = _BARE_LF.sub(b"\r\n", data)
        return data

    def finish(self) -> bytes:
        """The remaining octets, at the end."""
        held, self._held_cr = self._held_cr, b""
        return b" " if held else b""


class DataEncoder:
    """Encodes a body as SMTP DATA, without the final dot. `feed` and `finish` yield octets to send.

    A context manager, which closes the buffer.
    """

    def __init__(self) -> None:
        self._lines = Lines()
        self._at_line_start = True
        self._dot = b""  # a dot that begins a line at the end of a chunk: another may follow
        self._raw = False
        self._held: IO[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._held is not None:
            self._held.close()

    @property
    def holding(self) -> bool:
        """Whether it buffers: a `..` line was seen, and the form of the body is not decided yet."""
        return self._held is not None

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Encodes a chunk of the body."""
        yield from self._encode(self._lines.feed(chunk))

    def finish(self) -> Iterator[bytes]:
        """Ends the body. Yields the rest, with a line end, after which the final dot may follow."""
        yield from self._encode(self._lines.finish())
        if self._dot:
            # The last line is a single dot without a line end, so the body was raw.
            yield from self._release(stuff=True)
            yield b"..\r\n"
            return
        yield from self._release(stuff=False)
        if not self._at_line_start:
            yield b"\r\n"

    def _encode(self, data: bytes) -> Iterator[bytes]:
        """Encodes lines with CRLF. Keeps a dot that begins a line at the end of `data`."""
        data = self._dot + data
        before = b"\r\n" if self._at_line_start else b""
        seen = before + data
        self._dot = b"." if seen.endswith(b"\r\n.") else b""
        if self._dot:
            seen = seen[:-1]
        if len(seen) == len(before):
            return
        self._at_line_start = seen.endswith(b"\r\n")
        if not self._raw and _SINGLE_DOT.search(seen):
            self._raw = True
            yield from self._release(stuff=True)
        if self._raw:
            yield seen.replace(b"\r\n.", b"\r\n..")[len(before) :]
        elif self._held is not None:
            self._held.write(seen[len(before) :])
        elif (first := seen.find(b"\r\n..")) >= 0:
            yield seen[len(before) : first + 2]
            # It outlives this call.
            self._held = tempfile.SpooledTemporaryFile(HELD_IN_MEMORY, dir=_DIRECTORY)  # noqa: SIM115
            self._held.write(seen[first + 2 :])
        else:
            yield seen[len(before) :]

    def _release(self, *, stuff: bool) -> Iterator[bytes]:
        """Yields what was buffered, which begins at the beginning of a line."""
        if self._held is None:
            return
        held, self._held = self._held, None
        with held:
            held.seek(0)
            if not stuff:
                yield from iter(lambda: held.read(_PIECE), b"")
                return
            at_line_start = True
            while piece := held.readline(_PIECE):
                yield b"." + piece if at_line_start and piece.startswith(b".") else piece
                at_line_start = piece.endswith(b"\n")
