"""Whether octets can be ciphertext, by the share of them that have the high bit set.

In ciphertext each octet has it with probability 1/2: of `n` octets a binomial number, Bin(n, 1/2). Plain
ASCII has none, UTF-8 in most scripts nearly all. Too few and too many are refused, each where a lesser
probability than 2^-64 lies beyond: real ciphertext of 64 octets or more is refused once in 2^63 messages.
Fewer octets prove less: of 40, all or none must have the bit to be refused, which happens once in 2^39.
"""

from __future__ import annotations

from typing import Final

# Where enough is known: the probability that all of so many octets are ASCII is 2^-64.
ENOUGH: Final = 64
# More octets are never counted at once: a PKESK of the largest size, and what may wait before it.
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
    least = _LIMITS[max(0, min(count - structured, _MOST))]
    return high >= least and count - high >= least
