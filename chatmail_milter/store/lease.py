"""The maximum age of cached policy, and a wait until all caches have expired.

A reader caches policy for at most `LEASE`; a writer waits that long after its commit. So when a command
returns, all processes on all hosts apply its change.
"""

from __future__ import annotations

import time

LEASE = 0.05  # seconds


def wait_for_caches_to_expire() -> None:
    """Sleeps until no process uses data that it read before this call."""
    # A duration, not a point in time, because the clocks of hosts may differ.
    time.sleep(LEASE)
