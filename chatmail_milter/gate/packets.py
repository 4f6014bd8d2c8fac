"""Walks OpenPGP packets (RFC 9580, 4) without opening them: is this one encrypted message and nothing else?

Zero or more session keys, PKESK (5.1) or SKESK (5.3), then one SEIPD (5.13) that ends where the data ends.
Marker (5.8) and Padding (5.14) packets before it are legal and skipped, and of peers those that readers
needn't know (4.3). Everything else is refused: it would be readable, or is obsolete. So is anything after
the SEIPD, padding too: its place is inside of the encrypted data (10.3), and readers differ about what
comes later. What the bodies must be like is in `contents`.
"""

from __future__ import annotations

from typing import Final

from chatmail_milter.gate.contents import (
    MARKER,
    PADDING,
    PKESK,
    SEIPD,
    SEIPD_KEPT,
    SEIPD_LEAST,
    SIZES,
    SKESK,
    SKESKS_MOST,
    SKIPPED_MOST,
    Noise,
    judge_seipd,
)
from chatmail_milter.gate.errors import RefusedError
from chatmail_milter.gate.observer import NOBODY, Observer

# How the body of each packet that may come must begin: its version, or for a Marker all of it.
_BEGINNINGS: Final[dict[int, frozenset[bytes]]] = {
    PKESK: frozenset((b"\x03", b"\x06")),
    SKESK: frozenset((b"\x04", b"\x05", b"\x06")),
    MARKER: frozenset((b"PGP",)),
    SEIPD: frozenset((b"\x01", b"\x02")),
    PADDING: frozenset((b"",)),
}
# RFC 9580, 4.3: an unknown packet from here on is not critical, and must be skipped. No other version of
# them is known.
_NOT_CRITICAL: Final = range(40, 64)
_BEGINNINGS_FROM_PEERS: Final = _BEGINNINGS | dict.fromkeys(_NOT_CRITICAL, frozenset((b"",)))
_BEGINNING_SIZE: Final = {tag: max(map(len, texts)) for tag, texts in _BEGINNINGS_FROM_PEERS.items()}
_VERSIONED: Final = frozenset((PKESK, SKESK, SEIPD))

# Tag, five-octet length, and the longest of the beginnings.
_HEAD_MOST: Final = 1 + 5 + 3

# A header is dear, its body is not: a message may have this many, and one more for each so many octets.
# Of real ones none comes near: a key for each of 1000 recipients, lengths of 4 KiB and more.
_HEADERS_FREE: Final = 4096
_OCTETS_PER_HEADER: Final = 256

# RFC 9580, 4.2.1.4: the first of a packet's partial lengths is at least 512 octets.
_FIRST_PARTIAL_LEAST: Final = 512


class Packets:
    """A sink for the octets of an OpenPGP message. `strict`: without packets that readers don't know."""

    def __init__(self, observer: Observer = NOBODY, *, strict: bool = True) -> None:
        self._observer = observer
        self._beginnings = _BEGINNINGS if strict else _BEGINNINGS_FROM_PEERS
        self._head = b""  # of a header that is not complete yet
        self._tag = 0  # of the packet that has begun last
        self._left = 0  # octets of the body still to come
        self._more = False  # the length was partial: after this much of the body comes another length
        self._body = b""  # its beginning, as much of it as is looked at
        self._wanted = 0  # octets of it still wanted for that
        self._begins = 0  # where it begins in all that is encoded
        self._sealed = 0  # octets of the SEIPD's body, 0 as long as it has not begun
        self._skipped = 0  # octets of packets that readers skip
        self._skesks = 0
        self._noise = Noise()
        self._before = 0  # octets in the chunks before this one
        self._headers = 0  # packet headers and lengths so far

    def feed(self, data: bytes) -> None:
        at, size = 0, len(data)
        while at < size:
            if self._left:
                step = min(self._left, size - at)
                self._left -= step
                if self._wanted:
                    seen = min(step, self._wanted)
                    self._body += data[at : at + seen]
                    self._wanted -= seen
                    if not self._wanted:
                        # The part of the body that the checks look at is complete.
                        if self._tag == SEIPD:
                            judge_seipd(self._body, self._begins)
                        else:
                            self._noise.take(self._tag, self._body, self._begins)
                at += step
                continue
            known = len(self._head)
            head = self._head + data[at : at + _HEAD_MOST - known]
            goes_on = self._more
            used = self._next_length(head) if goes_on else self._next_packet(head)
            if not used:
                self._head = head
                break
            self._head = b""
            at += used - known
            if not goes_on:
                self._begins = self._before + at - len(self._body)
            self._headers += 1
            if self._headers > _HEADERS_FREE + (self._before + at) // _OCTETS_PER_HEADER:
                raise RefusedError("packets-too-many")
        self._before += size

    def finish(self) -> None:
        if self._head or self._left or self._more:
            raise RefusedError("packets-truncated")
        if not self._sealed:
            raise RefusedError("packets-no-seipd")
        if self._sealed < SEIPD_LEAST[self._body[0]]:
            raise RefusedError("packets-size-18")
        if self._wanted:
            judge_seipd(self._body, self._begins)

    def _next_packet(self, head: bytes) -> int:
        """Takes a packet's header and the beginning of its body; how many octets that was, 0 if too few."""
        first = head[0]
        if not first & 0x80:
            raise RefusedError("packets-after-seipd" if self._sealed else "packets-malformed")
        new_format = first & 0x40
        tag = first & 0x3F if new_format else first >> 2 & 0x0F
        indeterminate = not new_format and first & 3 == 3
        if self._sealed or tag not in self._beginnings or indeterminate:
            self._observer.packet(tag, None, None, partial=False)
            if self._sealed:
                raise RefusedError("packets-after-seipd")
            raise RefusedError("packets-indeterminate" if tag in self._beginnings else f"packets-tag-{tag}")
        size, length, partial = _length(head, 1) if new_format else _legacy_length(head)
        begins_at = 1 + size
        begun = begins_at + _BEGINNING_SIZE[tag]
        if not size or len(head) < min(begun, begins_at + length):
            return 0
        beginning = head[begins_at:begun]
        version = beginning[0] if tag in _VERSIONED and length else None
        self._observer.packet(tag, version, length, partial=partial)
        if length < len(beginning) or beginning not in self._beginnings[tag]:
            raise RefusedError(f"packets-version-{tag}")
        if partial and (tag != SEIPD or length < _FIRST_PARTIAL_LEAST):
            raise RefusedError("packets-partial")
        self._begin(tag, beginning, length)
        self._more = partial
        self._left = length - len(beginning)
        return begun

    def _begin(self, tag: int, beginning: bytes, length: int) -> None:
        """A packet's body begins, of so many octets as far as is known."""
        self._tag = tag
        self._body = beginning
        if tag == SEIPD:
            self._sealed = length
            self._wanted = SEIPD_KEPT - len(beginning)
            return
        if tag == MARKER:
            if length != len(beginning):
                raise RefusedError("packets-marker")
        elif tag in SIZES:
            least, most = SIZES[tag]
            if not least <= length <= most:
                raise RefusedError(f"packets-size-{tag}")
            self._skesks += tag == SKESK
            if self._skesks > SKESKS_MOST:
                raise RefusedError("packets-too-many")
        else:
            self._skipped += length
            if self._skipped > SKIPPED_MOST:
                raise RefusedError("packets-skipped")
        self._wanted = length - len(beginning)

    def _next_length(self, head: bytes) -> int:
        """Takes the length of a packet's next stretch; how many octets that was, 0 if too few."""
        size, self._left, partial = _length(head, 0)
        if size:
            self._more = partial
            self._sealed += self._left
            self._observer.stretch(self._left)
        return size


def _length(head: bytes, at: int) -> tuple[int, int, bool]:
    """RFC 9580, 4.2.1: octets that the length takes (0: more are needed), the length, whether partial."""
    if len(head) <= at:
        return 0, 0, False
    first = head[at]
    if first < 192:
        return 1, first, False
    if first < 224:
        return (2, (first - 192 << 8) + head[at + 1] + 192, False) if len(head) > at + 1 else (0, 0, False)
    if first < 255:
        return 1, 1 << (first & 0x1F), True
    if len(head) < at + 5:
        return 0, 0, False
    return 5, int.from_bytes(head[at + 1 : at + 5], "big"), False


def _legacy_length(head: bytes) -> tuple[int, int, bool]:
    """RFC 9580, 4.2.2, the same way. Length type 3, until the end of the data, is refused before this."""
    size = 1 << (head[0] & 3)
    if len(head) <= size:
        return 0, 0, False
    return size, int.from_bytes(head[1 : 1 + size], "big"), False
