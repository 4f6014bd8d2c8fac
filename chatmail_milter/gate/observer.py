"""Callbacks by which the gate reports what it parses, for `chatmailctl gate check`.

So the command explains a verdict without a second parser. Of a message's text, only media types, transfer
encodings and names of armor headers are passed on. An observer never changes a verdict.
"""

from __future__ import annotations


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
