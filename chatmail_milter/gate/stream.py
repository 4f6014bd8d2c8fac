"""The interface of the gate's layers (`Sink`), and a sink for a short fixed text.

A sink takes octets in chunks of any size, and raises `RefusedError` as soon as it finds a fault; `finish`
raises if the data is incomplete. The chunk sizes never change whether a message passes. If it has several
faults, they may change which one is reported.
"""

from __future__ import annotations

import re
from typing import Protocol

from chatmail_milter.gate.errors import RefusedError

# White space throughout the gate: RFC 5234's WSP and line ends; not NUL, not form feed.
WHITE_SPACE = b" \t\r\n"


class Sink(Protocol):
    """Takes a stream of octets."""

    def feed(self, data: bytes) -> None:
        """Takes the next octets. Raises `RefusedError`."""

    def finish(self) -> None:
        """Ends the data. Raises `RefusedError` if it is incomplete."""


class Exactly:
    """A sink for a body that, trimmed, must match `pattern` as a whole. `reason`: the slug if it does not."""

    # Octets kept: more than any matching text has.
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
