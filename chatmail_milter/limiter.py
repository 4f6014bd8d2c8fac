"""Rates of all users (`rules.rate`), in memory that the processes of the milter share.

A table of fixed size: a user's place is a set of eight slots, by hash. A slot holds the hash and the time by
which all is worn off; when that has passed, it says no more than an empty one, and whoever needs a slot of
the set takes it. So nothing grows and nothing has to be swept. Were all eight in use, which a quarter of a
million slots make unlikely for 100 000 who send at once, whoever has least to wait for is forgotten: that is
a message too many, not one too few. Make it before the processes are forked: they then hash alike, too.
"""

from __future__ import annotations

import mmap
import multiprocessing
import struct
from contextlib import AbstractContextManager

from chatmail_milter.rules.rate import Rate

_WAYS = 8
_SET = struct.Struct(f"={2 * _WAYS}q")
_SLOT = struct.Struct("=2q")
_SLOTS = 1 << 18


class Limiter:
    """One object serves all threads of all processes."""

    def __init__(
        self, rate: Rate, slots: int = _SLOTS, lock: AbstractContextManager[object] | None = None
    ) -> None:
        self._rate = rate
        self._sets = slots // _WAYS
        self._table = mmap.mmap(-1, self._sets * _SET.size)
        # Its owner can't be killed alone: where one process of the milter ends, all do.
        # Programs whose workers can be killed one by one give a `ProcessLock`.
        self._lock = lock or multiprocessing.get_context("fork").Lock()

    def take(self, key: str, now: float) -> bool:
        """Whether `key` may, at `now` (monotonic, seconds); if it may not, nothing was taken."""
        if not self._rate.per_minute:
            return True
        time = self._rate.time(now)
        mark = hash(key)
        begin = mark % self._sets * _SET.size
        with self._lock:
            slots = _SET.unpack_from(self._table, begin)
            marks, times = slots[::2], slots[1::2]
            found = marks.index(mark) if mark in marks else times.index(min(times))
            worn_off = self._rate.taken(times[found] if marks[found] == mark else 0, time)
            if worn_off is None:
                return False
            _SLOT.pack_into(self._table, begin + found * _SLOT.size, mark, worn_off)
            return True

    def remembered(self, now: float) -> int:
        """Of how many keys something is known that still counts at `now`."""
        time = self._rate.time(now)
        return sum(worn_off > time for _, worn_off in _SLOT.iter_unpack(self._table))
