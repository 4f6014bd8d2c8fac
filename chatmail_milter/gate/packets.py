"""Parses OpenPGP packet headers (RFC 9580, 4): the data must be one encrypted message and nothing else.

That is: zero or more PKESK (5.1) and SKESK (5.3) packets, then one SEIPD (5.13), which ends with the data.
Marker (5.8) and Padding (5.14) packets may come before the SEIPD, and from peers unknown non-critical packets
(4.3). All else is refused: other packets are readable or obsolete. Nothing may follow the SEIPD: padding
belongs inside the encrypted data (10.3), and OpenPGP programs disagree about packets after it. `contents`
checks the bodies.
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
    RandomnessCheck,
    judge_seipd,
)
from chatmail_milter.gate.layers import NOBODY, Observer, RefusedError

# Allowed packets, each with how its body must begin: with a version, or for a Marker the whole body.
_BEGINNINGS: Final[dict[int, frozenset[bytes]]] = {
    PKESK: frozenset((b"\x03", b"\x06")),
    SKESK: frozenset((b"\x04", b"\x05", b"\x06")),
    MARKER: frozenset((b"PGP",)),
    SEIPD: frozenset((b"\x01", b"\x02")),
    PADDING: frozenset((b"",)),
}
# RFC 9580, 4.3: unknown packets of these types are non-critical, and readers must skip them.
_NOT_CRITICAL: Final = range(40, 64)
_BEGINNINGS_FROM_PEERS: Final = _BEGINNINGS | dict.fromkeys(_NOT_CRITICAL, frozenset((b"",)))
_BEGINNING_SIZE: Final = {tag: max(map(len, texts)) for tag, texts in _BEGINNINGS_FROM_PEERS.items()}
_VERSIONED: Final = frozenset((PKESK, SKESK, SEIPD))

# Most octets of a packet header: tag, five-octet length, and the longest of the beginnings.
_HEAD_MOST: Final = 1 + 5 + 3

# Limit on packet headers and partial lengths: parsing one costs CPU, skipping its body does not. A message
# may have this many, and one more for each 256 octets. Real ones stay far below: one PKESK for each of 1000
# recipients, partial lengths of 4 KiB or more.
_HEADERS_FREE: Final = 4096
_OCTETS_PER_HEADER: Final = 256

# RFC 9580, 4.2.1.4: the first of a packet's partial lengths is at least 512 octets.
_FIRST_PARTIAL_LEAST: Final = 512


class Packets:
    """A sink for the octets of an OpenPGP message. `strict`: refuse unknown non-critical packets."""

    def __init__(self, observer: Observer = NOBODY, *, strict: bool = True) -> None:
        self._observer = observer
        self._beginnings = _BEGINNINGS if strict else _BEGINNINGS_FROM_PEERS
        self._head = b""  # octets of an incomplete header
        self._tag = 0  # type of the current packet
        self._left = 0  # octets of its body, or of the current partial length, still to come
        self._more = False  # the length was partial: another length follows
        self._body = b""  # the beginning of the body, as far as it is checked
        self._wanted = 0  # how many octets `_body` still lacks
        self._begins = 0  # offset of the body in the encoded data
        self._sealed = 0  # octets of the SEIPD's body so far, 0 before it begins
        self._skipped = 0  # octets of packets that readers skip
        self._skesks = 0
        self._noise = RandomnessCheck()
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
        """Parses a packet header and the body's beginning. Returns octets used, 0 if more are needed."""
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
        """Begins a packet's body. `length`: its octets, or those of its first partial length."""
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
        """Parses the next of a body's partial lengths. Returns octets used, 0 if more are needed."""
        size, self._left, partial = _length(head, 0)
        if size:
            self._more = partial
            self._sealed += self._left
            self._observer.stretch(self._left)
        return size


def _length(head: bytes, at: int) -> tuple[int, int, bool]:
    """RFC 9580, 4.2.1. Returns (octets used, 0 if more are needed; the length; whether it is partial)."""
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
    """RFC 9580, 4.2.2. Returns as `_length`. Length type 3 (indeterminate) was refused by the caller."""
    size = 1 << (head[0] & 3)
    if len(head) <= size:
        return 0, 0, False
    return size, int.from_bytes(head[1 : 1 + size], "big"), False
