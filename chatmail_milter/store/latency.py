"""Latencies as counts in fixed buckets, so that quantiles of any number of them need a bounded place.

Bucket `n` holds what took more than 2^((n-1)/4) and up to 2^(n/4) seconds: four to an octave, each 19 %
longer than the one before. A quantile is given as the geometric middle of the bucket it lies in, and so is
within 9.1 % (2^(1/8) - 1) of the true one, above or below. The buckets are the same everywhere and for ever:
counts of several writers, hosts or days are merged by adding them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

_PER_OCTAVE = 4
# 61 microseconds and 68 minutes: what is shorter or longer counts as that. 105 buckets a road at most.
LOWEST, HIGHEST = -14 * _PER_OCTAVE, 12 * _PER_OCTAVE


def bucket(seconds: float) -> int:
    """The bucket of a latency."""
    if seconds <= 2 ** (LOWEST / _PER_OCTAVE):
        return LOWEST
    return min(math.ceil(_PER_OCTAVE * math.log2(seconds)), HIGHEST)


def quantile(counts: Mapping[int, int], share: float) -> float | None:
    """The latency, in seconds, that `share` (above 0, up to 1) of those counted by bucket do not exceed.

    It is that of the nearest rank, so it is one that was measured, but for the bucket's width. None for none.
    """
    rank = math.ceil(share * sum(counts.values()))
    seen = 0
    for number in sorted(counts):
        seen += counts[number]
        if counts[number] and seen >= rank:
            return float(2 ** ((number - 0.5) / _PER_OCTAVE))
    return None
