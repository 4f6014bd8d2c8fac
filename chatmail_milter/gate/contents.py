"""Checks of OpenPGP packet bodies: plausible size, and octets that are statistically like ciphertext.

Nothing is decrypted. Of a body only the fields that its version fixes are parsed, so that future algorithms
pass. A body that can't be ciphertext, by its size or by its statistics (`randomness`), is refused.
"""

from __future__ import annotations

from typing import Final

from chatmail_milter.gate.layers import RefusedError
from chatmail_milter.gate.randomness import ENOUGH, high_bits, plausible, reads_as_words

PKESK: Final = 1
SKESK: Final = 3
MARKER: Final = 10
SEIPD: Final = 18
PADDING: Final = 21

# Least and greatest size of a body in octets. PKESK (RFC 9580, 5.1): from version 6 without a fingerprint,
# X25519, AES-128; to RSA with 16384 bits, which is larger than ML-KEM-1024 with X448 (1.7 kB). SKESK (5.3):
# from simple S2K without salt; to more than Argon2 with an AES-256 key under an AEAD (94 octets).
SIZES: Final = {PKESK: (60, 2304), SKESK: (4, 128)}
# Most SKESKs (passwords) of a message: more than anyone uses.
SKESKS_MOST: Final = 32
# Most octets, in all, of packets that readers skip: Padding (5.14) and unknown non-critical packets (4.3).
# Real writers pad inside the encrypted data.
SKIPPED_MOST: Final = 1024

# Least size of a SEIPD by its version. Version 1 (5.13.1): version octet, one AES block and its last two
# octets repeated, and 22 octets of modification detection code. Version 2 (5.13.2): version octet, three
# octets (cipher, mode, chunk size), salt, and two authentication tags of 16 octets, of a chunk and the final.
SEIPD_LEAST: Final = {1: 1 + 16 + 2 + 22, 2: 4 + 32 + 16 + 16}
# Octets of a SEIPD's body that are checked: the first kilobyte after the longest header.
SEIPD_KEPT: Final = 4 + 1024

# RFC 9580, 9.3: the ciphers with blocks of 16 octets, which the AEAD modes (9.6) need; and 5.13.2: the
# chunk size.
_CIPHERS: Final = frozenset((7, 8, 9, 10, 11, 12, 13))
_MODES: Final = frozenset((1, 2, 3))
_CHUNK_SIZE_MOST: Final = 16

# Which octets are checked for words in their Base64. Of a SEIPD the first 512: the first partial length can't
# end before them (4.2.1.4). Of other packets all that have at least 128 octets, as RSA and post-quantum keys
# have; and of smaller ones the first 1024 in all, which a reader sees first. (Checking those of a thousand
# recipients would cost as much as the rest of the gate.)
_READ_MOST: Final = 512
_READ_LEAST: Final = 128
_READ_OF_SMALL: Final = 1024
# Octets of a PKESK (5.1) that are not checked for words: version, key ID, algorithm, length of the MPI.
_PKESK_HEAD: Final = 1 + 8 + 1 + 2

# Octets of a PKESK or SKESK that are not random: version, algorithms, lengths, a point's prefix, S2K
# parameters.
_STRUCTURED: Final = 10


class RandomnessCheck:
    """Checks that packets before the SEIPD look random; adds up small ones until they can be judged."""

    def __init__(self) -> None:
        self._count = self._high = self._structured = 0
        self._small = 0  # octets of small packets that were checked for words

    def take(self, tag: int, body: bytes, at: int) -> None:
        """Checks the body of a packet that is neither SEIPD nor marker. Raises `RefusedError`.

        `at` is the body's offset in the encoded data, which decides how its Base64 reads.
        """
        small = len(body) < _READ_LEAST
        if not small or self._small < _READ_OF_SMALL:
            self._small += len(body) * small
            begin = _PKESK_HEAD * (tag == PKESK)
            if reads_as_words(body[begin:], at + begin):
                raise RefusedError("packets-readable")
        if tag == PKESK and body[:9] == b"\x03\0\0\0\0\0\0\0\0":
            # RFC 9580, 5.1.1: an anonymous recipient, whose key ID is zero: these octets are not random.
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
    """Checks a SEIPD's first `SEIPD_KEPT` octets, or all if it is shorter. Raises `RefusedError`.

    `at` is the body's offset in the encoded data, which decides how its Base64 reads.
    """
    clear = 1
    if beginning[0] == 2:
        cipher, mode, chunk_size = beginning[1:4]
        if cipher not in _CIPHERS or mode not in _MODES or chunk_size > _CHUNK_SIZE_MOST:
            raise RefusedError("packets-seipd-header")
        clear = 4
    # The octets in clear have no high bit, so `high_bits` may count over all of `beginning`.
    if not plausible(len(beginning) - clear, high_bits(beginning)):
        raise RefusedError("packets-readable")
    if reads_as_words(beginning[clear:_READ_MOST], at + clear):
        raise RefusedError("packets-readable")
