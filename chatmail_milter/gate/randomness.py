"""Statistical tests for ciphertext: how many octets have the high bit, and which letters their Base64 has.

High bits: in ciphertext each octet has the high bit with probability 1/2, so their number among `n` octets is
distributed as Bin(n, 1/2). ASCII text has none, UTF-8 in most scripts has nearly all. A number is refused if
it lies in a tail of probability under 2^-64: of real ciphertexts of 64 octets or more, one in 2^63 is
refused. Shorter ones are refused only if all or none have the bit; of those of 40 octets that is one in 2^39.

Base64: octets with any number of high bits can be chosen so that their Base64 reads as words. Words are
mostly lower case, as are 26 of 64 characters of ciphertext's Base64, Bin(n, 26/64). In either case, most
letters are ten common ones; with the two characters that may stand for blanks they are 22 of 64. Too many of
either kind are refused, with the same tail probability.
"""

from __future__ import annotations

import binascii
from functools import cache
from typing import Final

# Octets from which the full test applies: random octets are all ASCII with probability 2^-64.
ENOUGH: Final = 64
# Most octets counted at once. The largest PKESK has fewer, even with the small packets added up before it.
_MOST: Final = 4096
_ASCII: Final = bytes(range(128))


def _limits() -> tuple[int, ...]:
    """For each number `n` of octets, the least number of high bits that passes; `n` minus it is the greatest.

    That is one more than the largest `k` with P(Bin(n, 1/2) <= k) <= 2^-64, and at least 1. Computed by
    Pascal's rule: with S(n, k) the sum of the binomials of n up to k, S(n + 1, k) = 2 S(n, k) - C(n, k).
    """
    limits = [0]
    k, binomial, total = 0, 1, 1
    for n in range(1, _MOST + 1):
        total, binomial = 2 * total - binomial, binomial * n // (n - k)
        following = binomial * (n - k) // (k + 1)
        if n > ENOUGH and total + following <= 1 << n - ENOUGH:
            k, binomial, total = k + 1, following, total + following
        limits.append(k + 1)
    return tuple(limits)


_LIMITS: Final = _limits()


def high_bits(octets: bytes) -> int:
    """How many of these octets have the high bit set."""
    return len(octets.translate(None, _ASCII))


def plausible(count: int, high: int, structured: int = 0) -> bool:
    """Whether `count` octets, `high` of them with the high bit, may be ciphertext.

    `structured`: how many of them are not expected to be random.
    """
    least = _LIMITS[count - structured]
    return least <= high <= count - least


# Octets whose Base64 is checked: 680 characters. They lie before a second partial length.
_READ_MOST: Final = 510
_LOWER_CASE: Final = b"abcdefghijklmnopqrstuvwxyz"
# The ten most common letters, in both cases: three quarters of English text, two thirds in other languages.
# And the two characters of Base64 that may stand for blanks.
_COMMON: Final = b"etaoinsrhlETAOINSRHL/+"


def _without(characters: bytes) -> bytes:
    return bytes(set(range(256)) - set(characters))


_NOT_LOWER_CASE: Final = _without(_LOWER_CASE)
_NOT_COMMON: Final = _without(_COMMON)


def reads_as_words(octets: bytes, at: int) -> bool:
    """Whether the Base64 of `octets` has too many lower-case or too many common letters for ciphertext.

    `at`: offset of `octets` in the encoded data, which decides where its groups of three begin.
    """
    begin = -at % 3
    size = min(len(octets) - begin, _READ_MOST) // 3 * 3
    text = binascii.b2a_base64(octets[begin : begin + size], newline=False)
    count = len(text)
    return len(text.translate(None, _NOT_LOWER_CASE)) > _most(count, len(_LOWER_CASE)) or len(
        text.translate(None, _NOT_COMMON)
    ) > _most(count, len(_COMMON))


@cache
def _most(count: int, kinds: int) -> int:
    """The least `k` with P(Bin(count, kinds / 64) > k) <= 2^-64."""
    # Sums the tail from k = count downwards; all probabilities are multiplied by 64^count.
    k, tail, term, whole = count, 0, kinds**count, 1 << 6 * count
    while tail + term << ENOUGH <= whole:
        tail += term
        k -= 1
        term = term * (k + 1) * (64 - kinds) // ((count - k) * kinds)
    return k
