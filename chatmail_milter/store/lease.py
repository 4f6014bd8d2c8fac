"""How long any process may go by what it has read of the store, and how to wait until none goes by the old.

Whoever reads holds it for at most `LEASE`; whoever changes it then waits that long after the commit. So when
a command returns, what it changed is in force, in any number of processes on any number of hosts.
"""

from __future__ import annotations

import time

LEASE = 0.05  # seconds


def wait_for_caches_to_expire() -> None:
    """Wait until nobody holds what was read before now."""
    # Hosts' clocks may differ; how long this takes doesn't.
    time.sleep(LEASE)
