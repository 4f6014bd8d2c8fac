"""Rates of all users (`processes.rate`), in memory that the processes of the milter share.

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
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from chatmail_milter.processes.rate import Rate

_WAYS = 8
_SET = struct.Struct(f"={2 * _WAYS}q")
_SLOT = struct.Struct("=2q")
_SLOTS = 1 << 18


class Table(Protocol):
    """Octets of fixed size, as `mmap.mmap` has them."""

    def __getitem__(self, octets: slice, /) -> bytes: ...

    def __setitem__(self, octets: slice, value: bytes, /) -> None: ...


class Limiter:
    """One object serves all threads of all processes."""

    def __init__(
        self,
        rate: Rate,
        slots: int = _SLOTS,
        lock: AbstractContextManager[object] | None = None,
        table: Table | None = None,
        mark: Callable[[str], int] = hash,
    ) -> None:
        self._rate = rate
        self._sets = slots // _WAYS
        self._table: Table = table or mmap.mmap(-1, self._sets * _SET.size)
        # Programs that were not forked from one another give the memory that they share, and the same hash.
        self._mark = mark
        # Its owner can't be killed alone: where one process of the milter ends, all do.
        # Programs whose workers can be killed one by one give a `ProcessLock`.
        self._lock = lock or multiprocessing.get_context("fork").Lock()

    def take(self, key: str, now: float) -> bool:
        """Whether `key` may, at `now` (monotonic, seconds); if it may not, nothing was taken."""
        if not self._rate.per_minute:
            return True
        time, mark = self._rate.time(now), self._mark(key)
        with self._lock:
            slot, worn_off = self._found(mark)
            after = self._rate.taken(worn_off, time)
            if after is None:
                return False
            self._write(slot, mark, after)
            return True

    def may(self, key: str, now: float) -> bool:
        """Whether `take` would allow it; nothing is taken."""
        if not self._rate.per_minute:
            return True
        with self._lock:
            _, worn_off = self._found(self._mark(key))
        return self._rate.taken(worn_off, self._rate.time(now)) is not None

    def charge(self, key: str, now: float) -> None:
        """Take one at `now`, allowed or not: `key` then waits longer."""
        if not self._rate.per_minute:
            return
        time, mark = self._rate.time(now), self._mark(key)
        with self._lock:
            slot, worn_off = self._found(mark)
            self._write(slot, mark, self._rate.charged(worn_off, time))

    def _found(self, mark: int) -> tuple[int, int]:
        """Offset of the slot of `mark`, or of the one to give to it, and its time (0 where it had none)."""
        begin = mark % self._sets * _SET.size
        slots = _SET.unpack(self._table[begin : begin + _SET.size])
        marks, times = slots[::2], slots[1::2]
        found = marks.index(mark) if mark in marks else times.index(min(times))
        return begin + found * _SLOT.size, times[found] if marks[found] == mark else 0

    def _write(self, slot: int, mark: int, worn_off: int) -> None:
        self._table[slot : slot + _SLOT.size] = _SLOT.pack(mark, worn_off)

    def remembered(self, now: float) -> int:
        """Of how many keys something is known that still counts at `now`."""
        time = self._rate.time(now)
        slots = _SLOT.iter_unpack(self._table[0 : self._sets * _SET.size])
        return sum(worn_off > time for _, worn_off in slots)
