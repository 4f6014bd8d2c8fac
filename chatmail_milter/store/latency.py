"""A histogram of latencies with fixed exponential buckets, to compute quantiles in bounded space.

Bucket `n` counts latencies above 2^((n-1)/4) and up to 2^(n/4) seconds: four buckets per doubling, each bound
19 % above the previous one. A quantile is reported as the geometric middle of its bucket, so it is within 9.1
% (2^(1/8) - 1) of the true value. The buckets never change: counts of several processes, hosts or days are
merged by addition.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

_PER_OCTAVE = 4
# 61 microseconds and 68 minutes; latencies beyond count in these buckets. At most 105 buckets.
LOWEST, HIGHEST = -14 * _PER_OCTAVE, 12 * _PER_OCTAVE


def bucket(seconds: float) -> int:
    """The number of a latency's bucket."""
    if seconds <= 2 ** (LOWEST / _PER_OCTAVE):
        return LOWEST
    return min(math.ceil(_PER_OCTAVE * math.log2(seconds)), HIGHEST)


def quantile(counts: Mapping[int, int], share: float) -> float | None:
    """The latency in seconds that `share` (above 0, up to 1) of the counted ones don't exceed.

    `counts`: by bucket. None without any. Uses the nearest rank, so it is a measured value, up to the width
    of its bucket.
    """
    rank = math.ceil(share * sum(counts.values()))
    seen = 0
    for number in sorted(counts):
        seen += counts[number]
        if counts[number] and seen >= rank:
            return float(2 ** ((number - 0.5) / _PER_OCTAVE))
    return None
