"""Objects from before a fork are frozen for the garbage collector, so that processes share memory."""

from __future__ import annotations

import gc

from chatmail_milter.processes.prefork import share_memory


def test_what_is_there_before_a_fork_is_not_looked_at_by_the_garbage_collector() -> None:
    before = gc.get_freeze_count()
    here: list[list[int]] = [[] for _ in range(1000)]
    share_memory()
    assert gc.get_freeze_count() >= before + len(here)
