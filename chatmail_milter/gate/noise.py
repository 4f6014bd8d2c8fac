"""Whether octets can be ciphertext: by the share that has the high bit, and by how their Base64 reads.

In ciphertext each octet has it with probability 1/2: of `n` octets a binomial number, Bin(n, 1/2). Plain
ASCII has none, UTF-8 in most scripts nearly all. Too few and too many are refused, each where a lesser
probability than 2^-64 lies beyond: real ciphertext of 64 octets or more is refused once in 2^63 messages.
Fewer octets prove less: of 40, all or none must have the bit to be refused, which happens once in 2^39.

Octets can have any share of high bits if their Base64 reads as words. But words are in lower case, and of the
characters of ciphertext 26 in 64 are: Bin(n, 26/64). In either case they are mostly made of ten letters, and
of what stands for blanks: of ciphertext 22 in 64 are these. Too many are refused, by the same probability.
"""

from __future__ import annotations

import binascii
from functools import cache
from typing import Final

# Where enough is known: the probability that all of so many octets are ASCII is 2^-64.
ENOUGH: Final = 64
# More octets are never counted at once: a PKESK of the largest size has fewer, with what may wait before it.
_MOST: Final = 4096
_ASCII: Final = bytes(range(128))


def _limits() -> tuple[int, ...]:
    """For each number of octets the least number with the high bit that passes; the most mirrors it.

    For `n` octets that is one more than the largest `k` with P(Bin(n, 1/2) <= k) <= 2^-64, but at least 1. By
    Pascal's rule: with S(n, k) the sum of the binomials of n up to k, S(n + 1, k) is 2 S(n, k) - C(n, k).
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
    """Whether `count` octets may be ciphertext, `structured` of them aside; `high` have the high bit."""
    least = _LIMITS[count - structured]
    return least <= high <= count - least


# So many octets are read as Base64: 680 characters, all of them before the second of any partial lengths.
_READ_MOST: Final = 510
_LOWER_CASE: Final = b"abcdefghijklmnopqrstuvwxyz"
# The ten that are three quarters of a text in English, two thirds in other languages, in both cases; and the
# two characters of Base64 that may stand for blanks.
_COMMON: Final = b"etaoinsrhlETAOINSRHL/+"


def _without(characters: bytes) -> bytes:
    return bytes(set(range(256)) - set(characters))


_NOT_LOWER_CASE: Final = _without(_LOWER_CASE)
_NOT_COMMON: Final = _without(_COMMON)


def reads_as_words(octets: bytes, at: int) -> bool:
    """Whether too much of the Base64 of `octets` is in lower case, or is what words are mostly made of.

    `at` octets come before in what is encoded.
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
    """The largest `k` so that of `count` characters more than `k` are of these `kinds` with at most 2^-64."""
    # All probabilities times 64^count, from that of all characters down.
    k, tail, term, whole = count, 0, kinds**count, 1 << 6 * count
    while tail + term << ENOUGH <= whole:
        tail += term
        k -= 1
        term = term * (k + 1) * (64 - kinds) // ((count - k) * kinds)
    return k
