"""Armor and packets made wrong on purpose: text in the armor, readable packets beside the sealed one."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from random import Random

from tests import packets
from tests.corpus.framing import Packet, TruncatedError, split
from tests.packets import LITERAL, MARKER, PADDING, SEIPD

_ARMOR = re.compile(
    rb"-----BEGIN PGP MESSAGE-----\r?\n(?:[^\r\n]+\r?\n)*\r?\n(.*?)-----END PGP MESSAGE-----\r?\n?", re.DOTALL
)
_CHECKSUM = re.compile(rb"\n=[A-Za-z0-9+/]{4}\r?\n\Z")

_TEXT = b"Meet me at nine."
_READABLE = packets.new(LITERAL, b"b\x00\x00\x00\x00\x00" + _TEXT)

_LINES = (
    b"Comment: Meet me at nine.",
    b"Comment: " + b"Meet me at nine. " * 6,
    b"MessageID: abc",
    b"Version: x",
    b"Hash: SHA512",
    b"Charset: utf-8",
    b"Comment:",
    b"Meet me at nine.",
    b"",
    b" ",
    b"=abcd",
    b"=",
    b"==",
    b"=abcd Meet me",
    b"-----BEGIN PGP MESSAGE-----",
    b"-----END PGP MESSAGE-----",
    b"-----BEGIN PGP SIGNATURE-----",
    b"-----BEGIN PGP MESSAGE, PART 1/2-----",
    b"- -----END PGP MESSAGE-----",
)


def armor_line(random: Random, octets: bytes) -> bytes:
    """A line put in somewhere in the armor, mostly near its ends."""
    found = _ARMOR.search(octets)
    if not found:
        return octets
    lines = found[0].splitlines(keepends=True)
    at = random.choice((0, 1, 2, 3, -3, -2, -1, len(lines), random.randrange(len(lines) + 1)))
    lines.insert(at, random.choice(_LINES) + random.choice((b"\r\n", b"\n", b"\r", b"\x0c\r\n", b"")))
    return octets[: found.start()] + b"".join(lines) + octets[found.end() :]


def armor_text(random: Random, octets: bytes) -> bytes:
    """Text on one of the armor's own lines."""
    found = _ARMOR.search(octets)
    if not found:
        return octets
    lines = found[0].splitlines(keepends=True)
    at = random.choice((0, 1, 2, -3, -2, -1)) % len(lines)
    words = random.choice(
        (b" Meet me at nine.", b"-", b"=", b"==", b"A", b"\0", b"\xa0", b"\x0c", b" ", b"\r")
    )
    bare = lines[at].rstrip(b"\r\n")
    lines[at] = random.choice((words + bare, bare + words)) + lines[at][len(bare) :]
    return octets[: found.start()] + b"".join(lines) + octets[found.end() :]


def write(random: Random, each: Packet) -> bytes:
    """The packet with a header of some kind that can hold it, or nearly."""
    tag, body = each
    forms: list[Callable[[], bytes]] = [
        lambda: packets.new(tag, body),
        lambda: packets.new(tag, body),
        lambda: packets.new(tag, body, length_octets=5),
        lambda: packets.partial(tag, body, random.choice((0, 1, 8, 9, 10, 12))),
        lambda: packets.new(tag, body)[:-1],
        lambda: packets.new(tag, body) + b"\0",
    ]
    if tag < 16:
        forms += [lambda: packets.legacy(tag, body, 2), lambda: packets.legacy(tag, body, 3)]
    return random.choice(forms)()


def _armored(octets: bytes) -> tuple[re.Match[bytes], bytes] | None:
    """Where the armor is, and the packets in it; None if there is none that can be decoded."""
    found = _ARMOR.search(octets)
    try:
        return found and (found, base64.b64decode(_CHECKSUM.sub(b"", found[1])))
    except binascii.Error:
        return None


def packet(random: Random, octets: bytes) -> bytes:
    """The armored packets otherwise: more, fewer, in another order, with other headers or versions."""
    armored = _armored(octets)
    if armored is None:
        return octets
    found, plain = armored
    crooked = _crooked(random, plain)
    width = random.choice((64, 64, 64, 76, 5, 1, 100_000))
    armor = packets.armored(crooked, crc=random.random() < 0.5, headers=(), width=width)
    return octets[: found.start()] + armor.encode() + octets[found.end() :]


def _crooked(random: Random, plain: bytes) -> bytes:
    try:
        parts = split(plain)
    except TruncatedError:
        return plain
    what = random.randrange(9)
    if what == 0:
        strange = (
            LITERAL,
            packets.COMPRESSED,
            packets.SIGNATURE,
            packets.SED,
            packets.AEAD,
            SEIPD,
            MARKER,
            PADDING,
            0,
            60,
        )
        more = (
            random.choice(strange),
            random.choice((_TEXT, b"PGP", b"\x01" + _TEXT, b"b\0\0\0\0\0" + _TEXT, b"")),
        )
        parts.insert(random.randrange(len(parts) + 1), more)
    elif what == 1 and parts:
        at = random.randrange(len(parts))
        tag, body = parts[at]
        parts[at] = random.choice(
            ((LITERAL, body), (tag, bytes((random.randrange(8),)) + body[1:]), (tag, body[:1]), (tag, b""))
        )
    elif what == 2 and parts:
        parts.pop(random.randrange(len(parts)))
    elif what == 3:
        random.shuffle(parts)
    elif what == 4:
        return plain + random.choice((_READABLE, _TEXT, b"\0", b"\n"))
    elif what == 5:
        return random.choice((_READABLE, _TEXT, b"\0", b"\n")) + plain
    elif what == 6:
        return plain[: -random.randrange(1, 40)]
    elif what == 7:
        tag = random.choice((SEIPD, packets.PKESK, packets.SKESK, PADDING, 60))
        text = (_TEXT * 100)[: random.choice((2, 40, 64, 100, 500, 1500))]
        beginning = random.choice((b"\x01", b"\x03", b"\x04", packets.SEIPD2_BEGINNING, b""))
        if tag == SEIPD:
            parts = [each for each in parts if each[0] != SEIPD]
        parts.insert(len(parts) if tag == SEIPD else 0, (tag, beginning + text))
    else:
        # A SEIPD cut to some size, with a header of version 2 or as it is.
        size = random.choice((0, 1, 20, 40, 41, 67, 68, 100))
        beginning = random.choice((b"", packets.SEIPD2_BEGINNING, b"\x02\x00\x02\x06", b"\x02\x09\x02\x20"))
        parts = [(tag, (beginning + body)[:size] if tag == SEIPD else body) for tag, body in parts]
    return b"".join(write(random, each) for each in parts)


def raw_packets(random: Random, octets: bytes) -> bytes:
    """The armor replaced by what is in it, then and there something readable."""
    armored = _armored(octets)
    if armored is None:
        return octets
    found, plain = armored
    return (
        octets[: found.start()]
        + plain
        + random.choice((b"", b"", _READABLE, _TEXT))
        + b"\r\n"
        + octets[found.end() :]
    )
