"""OpenPGP's packets told apart (RFC 9580, 4.2), in one piece and without opinions."""

from __future__ import annotations

Packet = tuple[int, bytes]  # its tag, and its body without the lengths


class TruncatedError(ValueError):
    """A packet is longer than what there is, or begins like none."""


def split(octets: bytes) -> list[Packet]:
    """All packets. Raises `TruncatedError`."""
    found: list[Packet] = []
    at = 0
    while at < len(octets):
        tag, body, at = _new(octets, at) if octets[at] & 0x40 else _legacy(octets, at)
        if at > len(octets):
            raise TruncatedError
        found.append((tag, body))
    return found


def _legacy(octets: bytes, at: int) -> tuple[int, bytes, int]:
    first = octets[at]
    if not first & 0x80 or first & 3 == 3:
        raise TruncatedError
    begin = at + 1 + (1 << (first & 3))
    size = int.from_bytes(octets[at + 1 : begin], "big")
    return first >> 2 & 15, octets[begin : begin + size], begin + size


def _new(octets: bytes, at: int) -> tuple[int, bytes, int]:
    if not octets[at] & 0x80:
        raise TruncatedError
    tag, pieces, more = octets[at] & 63, [], True
    at += 1
    while more:
        if at >= len(octets):
            raise TruncatedError
        size, at, more = _length(octets, at)
        pieces.append(octets[at : at + size])
        at += size
    return tag, b"".join(pieces), at


def _length(octets: bytes, at: int) -> tuple[int, int, bool]:
    """A length, where it ends, and whether another comes after so many octets."""
    first = octets[at]
    if first < 192:
        return first, at + 1, False
    if first < 224:
        return (first - 192 << 8) + int.from_bytes(octets[at + 1 : at + 2], "big") + 192, at + 2, False
    if first < 255:
        return 1 << (first & 31), at + 1, True
    return int.from_bytes(octets[at + 1 : at + 5], "big"), at + 5, False
