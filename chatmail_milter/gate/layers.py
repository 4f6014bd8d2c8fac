"""What the gate's layers share: their interface (`Sink`), the refusal, and what they report (`Observer`).

A sink takes octets in chunks of any size, and raises `RefusedError` as soon as it finds a fault; `finish`
raises if the data is incomplete. The chunk sizes never change whether a message passes. If it has several
faults, they may change which one is reported.

An observer lets `chatmailctl gate check` explain a verdict without a second parser. Of a message's text, only
media types, transfer encodings and names of armor headers are passed on. It never changes a verdict.
"""

from __future__ import annotations

import re
from typing import Protocol


class RefusedError(Exception):
    """The gate refuses the message.

    `reason` is a fixed slug (log field, metric label, name of a test). It holds nothing of the message.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


# White space throughout the gate: RFC 5234's WSP and line ends; not NUL, not form feed.
WHITE_SPACE = b" \t\r\n"


class Sink(Protocol):
    """Takes a stream of octets."""

    def feed(self, data: bytes) -> None:
        """Takes the next octets. Raises `RefusedError`."""

    def finish(self) -> None:
        """Ends the data. Raises `RefusedError` if it is incomplete."""


class FixedText:
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


class Observer:
    """The callbacks, called in the order of the message. This base class does nothing; it is the default."""

    def message(self, content_type: str, transfer_encoding: str) -> None:
        """The message's own media type and transfer encoding, both in lower case."""

    def part(self, content_type: str, transfer_encoding: str) -> None:
        """A body part begins."""

    def octets_of_part(self, count: int) -> None:
        """The next `count` octets of that part's body were read, in their transfer encoding."""

    def armor(self) -> None:
        """The body is ASCII armor: its first line was read."""

    def armor_header(self, name: str) -> None:
        """An armor header was read (RFC 9580, 6.2.2). `name`: `Version`, `Comment` or another known one."""

    def armor_checksum(self) -> None:
        """A checksum line was read (CRC24; RFC 9580, 6.1)."""

    def packet(self, tag: int, version: int | None, length: int | None, *, partial: bool) -> None:
        """An OpenPGP packet begins. Also called for a packet that is then refused.

        `version`: None if the packet type has none. `length`: octets of the body, or of its first chunk if
        `partial`; None if the gate refuses the packet before it reads the length.
        """

    def stretch(self, length: int) -> None:
        """The body of a packet with partial lengths continues with a chunk of `length` octets."""


NOBODY = Observer()
