r"""The body of `POST /mxdeliv` as SMTP's DATA: CRLF line endings, and every leading dot doubled once.

A body comes raw (madmail) or still dot-stuffed (filtermail), and nothing says which: it is stuffed if every
line that begins with `.` begins with `..`. That is known for certain only at the end, or at the first line
that begins with one dot. But until a line begins with `..`, both readings are the same octets; so a body is
passed on as it comes, and only from its first `..` line on held back, on disk past `HELD_IN_MEMORY`, until a
single dot or the end decides. PGP messages, which are nearly all there are, have no such line.

Stuffed is how DATA wants it, so "unstuffing" is to not stuff again. No octet sequence passes that any SMTP
server could take for the end of the data: every `\n` leaves as `\r\n`, every `\r` without one as a space
(what Postfix makes of them on port 25), and no line is a lone dot. Pure but for the spool of what is held.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from typing import IO, Self

HELD_IN_MEMORY = 1 << 18
_PIECE = 1 << 16

_BARE_LF = re.compile(rb"(?<!\r)\n")
_BARE_CR = re.compile(rb"\r(?!\n)")
_SINGLE_DOT = re.compile(rb"\r\n\.[^.]")


class Lines:
    """Octets in chunks of any size to octets with CRLF line endings only. Holds at most one octet."""

    def __init__(self) -> None:
        self._held_cr = b""

    def feed(self, chunk: bytes) -> bytes:
        """What `chunk` adds."""
        data = self._held_cr + chunk
        self._held_cr = b"\r" if data.endswith(b"\r") else b""
        if self._held_cr:
            data = data[:-1]
        # Three counts in C are far cheaper than the two substitutions that most messages don't need.
        pairs = data.count(b"\r\n")
        if data.count(b"\r") != pairs:
            data = _BARE_CR.sub(b" ", data)
        if data.count(b"\n") != pairs:
            data = _BARE_LF.sub(b"\r\n", data)
        return data

    def finish(self) -> bytes:
        """What the end adds."""
        held, self._held_cr = self._held_cr, b""
        return b" " if held else b""


class DataEncoder:
    """A body in chunks to SMTP DATA without the final dot; a context manager, because of the spool.

    `feed` and `finish` yield what may be sent now.
    """

    def __init__(self) -> None:
        self._lines = Lines()
        self._at_line_start = True
        self._dot = b""  # a dot that began a line and ended a chunk: one of two, perhaps
        self._raw = False
        self._held: IO[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._held is not None:
            self._held.close()

    @property
    def holding(self) -> bool:
        """Whether a `..` line was seen and nothing decided yet."""
        return self._held is not None

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Take a piece of the body."""
        yield from self._encode(self._lines.feed(chunk))

    def finish(self) -> Iterator[bytes]:
        """The body is complete: yield the rest, which ends with a line, as the final dot must follow one."""
        yield from self._encode(self._lines.finish())
        if self._dot:
            # The last line is a lone dot without a line ending: a single one, as any other.
            yield from self._release(stuff=True)
            yield b"..\r\n"
            return
        yield from self._release(stuff=False)
        if not self._at_line_start:
            yield b"\r\n"

    def _encode(self, data: bytes) -> Iterator[bytes]:
        """Take CRLF lines. A dot whose successor is not here yet waits for it."""
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
            self._held = tempfile.SpooledTemporaryFile(HELD_IN_MEMORY)  # noqa: SIM115  (outlives this call)
            self._held.write(seen[first + 2 :])
        else:
            yield seen[len(before) :]

    def _release(self, *, stuff: bool) -> Iterator[bytes]:
        """What was held, which begins with a line."""
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
