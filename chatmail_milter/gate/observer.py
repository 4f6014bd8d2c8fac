"""Who may watch the gate at work: told by each layer what it meets, as it meets it.

For `chatmailctl gate check`, which explains a verdict without a second parser. Nothing readable of a message
is handed over but media types and transfer encodings. No observer ever changes a verdict.
"""

from __future__ import annotations


class Observer:
    """Hears what happens, in order. This one doesn't listen: it is what the gate has when nobody asks."""

    def message(self, content_type: str, transfer_encoding: str) -> None:
        """The message's own media type and transfer encoding, both in lower case."""

    def part(self, content_type: str, transfer_encoding: str) -> None:
        """A body part begins."""

    def octets_of_part(self, count: int) -> None:
        """So many more octets of that part's body, as they are in the message."""

    def armor(self) -> None:
        """That body is ASCII armor, and its first line is right."""

    def armor_header(self, name: str) -> None:
        """`Version` or `Comment` (RFC 9580, 6.2.2)."""

    def armor_checksum(self) -> None:
        """The armor has a CRC24 line (RFC 9580, 6.1)."""

    def packet(self, tag: int, version: int | None, length: int | None, *, partial: bool) -> None:
        """An OpenPGP packet begins, the one that is refused included.

        `version` is None where the packet type has none, `length` (octets of the body, of its first stretch
        if `partial`) where the gate refuses before it reads that.
        """

    def stretch(self, length: int) -> None:
        """The last packet's length was partial, and goes on by so many octets."""


NOBODY = Observer()
