"""What the layers of the gate hand to one another, and the smallest of them.

Every sink takes octets in chunks of any size, raises `RefusedError` as soon as it knows, and says at
`finish` whether what came was whole. How the octets were cut into chunks never changes whether they pass;
of several faults it may change which is named.
"""

from __future__ import annotations

import re
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
    """A body that, trimmed, is one short text: what `pattern` matches as a whole."""

    # More than any text we look for: what is longer can't be it.
    _MOST = 64

    def __init__(self, pattern: re.Pattern[bytes], reason: str) -> None:
        self._pattern = pattern
        self._reason = reason
        self._seen = b""

    def feed(self, data: bytes) -> None:
        if not self._seen:
            data = data.lstrip(WHITE_SPACE)
        room = self._MOST - len(self._seen)
        self._seen += data[:room]
        if data[room:].strip(WHITE_SPACE):
            raise RefusedError(self._reason)

    def finish(self) -> None:
        if not self._pattern.fullmatch(self._seen.rstrip(WHITE_SPACE)):
            raise RefusedError(self._reason)
