"""What the layers of the gate hand to one another, and the two smallest of them.

Every sink takes octets in chunks of any size, raises `RefusedError` as soon as it knows, and says at
`finish` whether what came was whole. How the octets were cut into chunks never changes whether they pass;
of several faults it may change which is named.
"""

from __future__ import annotations

import binascii
from typing import Protocol

from chatmail_milter.gate.errors import RefusedError

# What "white space aside" means: RFC 5234's WSP and line ends. Not NUL, not form feed.
WHITE_SPACE = b" \t\r\n"


class Sink(Protocol):
    """Takes a stream of octets."""

    def feed(self, data: bytes) -> None:
        """The next octets. Raises `RefusedError`."""

    def finish(self) -> None:
        """There are no more. Raises `RefusedError`."""


class Exactly:
    """A body that, trimmed, is one of a few short texts; compared in lower case if `fold`."""

    # More than any text we look for: what is longer can't be one of them.
    _MOST = 64

    def __init__(self, texts: frozenset[bytes], reason: str, *, fold: bool = False) -> None:
        self._texts = texts
        self._reason = reason
        self._fold = fold
        self._seen = b""

    def feed(self, data: bytes) -> None:
        if not self._seen:
            data = data.lstrip(WHITE_SPACE)
        room = self._MOST - len(self._seen)
        self._seen += data[:room]
        if data[room:].strip(WHITE_SPACE):
            raise RefusedError(self._reason)

    def finish(self) -> None:
        text = self._seen.rstrip(WHITE_SPACE)
        if (text.lower() if self._fold else text) not in self._texts:
            raise RefusedError(self._reason)


class Base64:
    """Base64 (RFC 4648, 4), white space aside, valid to its last character; the octets go on to `sink`.

    Padding is given separately, to `pad`: whoever reads the text knows what else an `=` may mean there.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._odd = b""

    def feed(self, text: bytes) -> None:
        """More text, without padding."""
        text = self._odd + text.translate(None, WHITE_SPACE)
        whole = len(text) & ~3
        self._odd = text[whole:]
        self._decode(text[:whole])

    def pad(self, padding: bytes) -> None:
        """The `=` or `==` that fills up the last four characters. Nothing may follow."""
        text = self._odd + padding
        if len(text) != 4:
            raise RefusedError("base64")
        self._odd = b""
        self._decode(text)

    def close(self) -> None:
        """The text is over: it must have come in whole fours."""
        if self._odd:
            raise RefusedError("base64")

    def _decode(self, text: bytes) -> None:
        try:
            octets = binascii.a2b_base64(text, strict_mode=True)
        except binascii.Error:
            raise RefusedError("base64") from None
        self._sink.feed(octets)
