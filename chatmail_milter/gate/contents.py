"""Checks of packet bodies: a size that real writers produce, and octets that look like ciphertext.

Nothing is decrypted. A body is not parsed further than its version demands, so that algorithms which don't
exist yet pass; what can't be ciphertext, by its size or by its share of high bits (`noise`), is refused.
"""

from __future__ import annotations

from typing import Final

from chatmail_milter.gate.errors import RefusedError
from chatmail_milter.gate.noise import ENOUGH, high_bits, plausible, reads_as_words

PKESK: Final = 1
SKESK: Final = 3
MARKER: Final = 10
SEIPD: Final = 18
PADDING: Final = 21

# Octets of a body, from and to. A PKESK (RFC 9580, 5.1): at least version 6 without a fingerprint, X25519
# and a key of AES-128; at most RSA with 16384 bits, which is more than ML-KEM-1024 with X448 has, 1.7 kB.
# An SKESK (5.3): from a password without salt to Argon2, and AES-256 under an AEAD, which has 94.
SIZES: Final = {PKESK: (60, 2304), SKESK: (4, 128)}
# Passwords that a message can be read with: more than anyone gives.
SKESKS_MOST: Final = 32
# Octets of all bodies that readers skip: Padding (5.14), and packets that they don't know and needn't
# (4.3). Real writers pad inside the encrypted data.
SKIPPED_MOST: Final = 1024

# A SEIPD's least size by its version. Version 1 (5.13.1): the version, a block of AES and two octets of it
# again, and 22 octets of modification detection code. Version 2 (5.13.2): the version, three octets of
# algorithms and chunk size, the salt, and two tags of 16 octets, of one chunk and of the whole.
SEIPD_LEAST: Final = {1: 1 + 16 + 2 + 22, 2: 4 + 32 + 16 + 16}
# Of a SEIPD's body, as many octets are looked at: the first kilobyte after the longest header.
SEIPD_KEPT: Final = 4 + 1024

# RFC 9580, 9.3: the ciphers with blocks of 16 octets, which the AEAD modes (9.6) need; and 5.13.2: the
# chunk size.
_CIPHERS: Final = frozenset((7, 8, 9, 10, 11, 12, 13))
_MODES: Final = frozenset((1, 2, 3))
_CHUNK_SIZE_MOST: Final = 16

# Of a SEIPD, so many octets are read as Base64: no partial length is among them (4.2.1.4). Of other packets,
# all those that hold so much as RSA and post-quantum keys do; and of the small ones so much together, what a
# reader sees first. (To read those of a thousand recipients would cost as much as all the rest.)
_READ_MOST: Final = 512
_READ_LEAST: Final = 128
_READ_OF_SMALL: Final = 1024
# What is not read of a PKESK (5.1): version, key identifier, algorithm, and the length of a number.
_PKESK_HEAD: Final = 1 + 8 + 1 + 2

# Octets of a session key's packet that are no noise: version, algorithms, lengths, a point's prefix, S2K
# parameters.
_STRUCTURED: Final = 10


class Noise:
    """The octets before the SEIPD that should be noise, counted over small packets until they are enough."""

    def __init__(self) -> None:
        self._count = self._high = self._structured = 0
        self._small = 0  # octets of small packets that have been read

    def take(self, tag: int, body: bytes, at: int) -> None:
        """The body, at this offset, of any packet but the SEIPD and a marker. Raises `RefusedError`."""
        small = len(body) < _READ_LEAST
        if not small or self._small < _READ_OF_SMALL:
            self._small += len(body) * small
            begin = _PKESK_HEAD * (tag == PKESK)
            if reads_as_words(body[begin:], at + begin):
                raise RefusedError("packets-readable")
        if tag == PKESK and body[:9] == b"\x03\0\0\0\0\0\0\0\0":
            # RFC 9580, 5.1.1: the recipient isn't named.
            body = body[9:]
        count, high, structured = len(body), high_bits(body), _STRUCTURED if tag <= SKESK else 0
        if self._count:
            count, high = count + self._count, high + self._high
            structured += self._structured
        if count - structured < ENOUGH:
            self._count, self._high, self._structured = count, high, structured
        elif plausible(count, high, structured):
            self._count = 0
        else:
            raise RefusedError("packets-readable")


def judge_seipd(beginning: bytes, at: int) -> None:
    """The first `SEIPD_KEPT` octets of a SEIPD's body, or all, which begins `at`. Raises `RefusedError`."""
    clear = 1
    if beginning[0] == 2:
        cipher, mode, chunk_size = beginning[1:4]
        if cipher not in _CIPHERS or mode not in _MODES or chunk_size > _CHUNK_SIZE_MOST:
            raise RefusedError("packets-seipd-header")
        clear = 4
    # None of the octets in clear has the high bit.
    if not plausible(len(beginning) - clear, high_bits(beginning)):
        raise RefusedError("packets-readable")
    if reads_as_words(beginning[clear:_READ_MOST], at + clear):
        raise RefusedError("packets-readable")
