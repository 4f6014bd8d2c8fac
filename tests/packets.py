"""OpenPGP octets for tests, put together by hand: packets (RFC 9580, 4.2) and armor (6.2)."""

from __future__ import annotations

import base64
import random

PKESK, SIGNATURE, SKESK, COMPRESSED, SED, MARKER, LITERAL, SEIPD, AEAD, PADDING = (
    1,
    2,
    3,
    8,
    9,
    10,
    11,
    18,
    20,
    21,
)


def noise(size: int) -> bytes:
    """Octets that look like ciphertext, the same on every run."""
    return random.Random(size).randbytes(size)  # noqa: S311 (it hides nothing)


def new(tag: int, body: bytes, *, length_octets: int | None = None) -> bytes:
    """A packet with a new-format header, its length in as few octets as do, or in 1, 2 or 5."""
    size = len(body)
    octets = length_octets or (1 if size < 192 else 2 if size < 8384 else 5)
    if octets == 1:
        length = bytes((size,))
    elif octets == 2:
        length = bytes(((size - 192 >> 8) + 192, (size - 192) & 0xFF))
    else:
        length = b"\xff" + size.to_bytes(4, "big")
    return bytes((0xC0 | tag,)) + length + body


def legacy(tag: int, body: bytes, length_type: int) -> bytes:
    """A packet with a legacy header, as GnuPG writes them; length type 3 is "until the end"."""
    length = b"" if length_type == 3 else len(body).to_bytes(1 << length_type, "big")
    return bytes((0x80 | tag << 2 | length_type,)) + length + body


def partial(tag: int, body: bytes, power: int) -> bytes:
    """A packet in stretches of `2 ** power` octets; the last stretch has a length of its own."""
    step = 1 << power
    pieces = [bytes((0xC0 | tag,))]
    while len(body) >= step:
        pieces += [bytes((0xE0 | power,)), body[:step]]
        body = body[step:]
    pieces.append(b"\xff" + len(body).to_bytes(4, "big") + body)
    return b"".join(pieces)


def pkesk(version: int = 3) -> bytes:
    return new(PKESK, bytes((version,)) + noise(94))


def skesk(version: int = 4) -> bytes:
    return new(SKESK, bytes((version,)) + noise(12))


# Version 2, AES-256, OCB, chunks of 4 KiB (RFC 9580, 5.13.2).
SEIPD2_BEGINNING = b"\x02\x09\x02\x06"


def seipd(version: int = 1, size: int = 300) -> bytes:
    """With `size` octets after the version, which for version 2 begin with algorithms and chunk size."""
    beginning = SEIPD2_BEGINNING if version == 2 else bytes((version,))
    return new(SEIPD, beginning + noise(size + 1 - len(beginning)))


def armored(
    octets: bytes,
    *,
    headers: tuple[str, ...] = (),
    crc: bool = True,
    kind: str = "PGP MESSAGE",
    width: int = 64,
    eol: str = "\r\n",
) -> str:
    """`octets` in ASCII armor."""
    text = base64.b64encode(octets).decode()
    lines = [f"-----BEGIN {kind}-----", *headers, ""]
    lines += [text[at : at + width] for at in range(0, len(text), width)]
    if crc:
        lines.append("=" + base64.b64encode(crc24(octets).to_bytes(3, "big")).decode())
    return eol.join([*lines, f"-----END {kind}-----", ""])


def crc24(octets: bytes) -> int:
    """RFC 4880, 6.1; of the first 4096 octets, since Python takes long and no reader must check it."""
    crc = 0xB704CE
    for octet in octets[:4096]:
        crc = (crc << 8) & 0xFFFFFF ^ _CRC24[crc >> 16 ^ octet]
    return crc


def _eight_bits(crc: int) -> int:
    """The RFC's inner loop."""
    for _ in range(8):
        crc <<= 1
        if crc & 0x1000000:
            crc ^= 0x1864CFB
    return crc


_CRC24 = tuple(_eight_bits(octet << 16) for octet in range(256))
