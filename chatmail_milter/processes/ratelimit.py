"""Rate limits of many keys, in memory that several processes share.

GCRA, the generic cell rate algorithm (ITU-T I.371, annex A): each event advances the key's theoretical
arrival time (TAT) by one interval. An event is allowed while the TAT is less than `burst` intervals ahead of
now: so `burst` events at once, then one per interval. A TAT in the past is the same as none.

The TATs are in a set-associative hash table of fixed size: a key's hash selects a set of eight slots. A slot
holds the hash and the TAT; once the TAT has passed, the slot counts as free. So the table never grows and
needs no cleanup. If all eight slots are in use, the one with the earliest TAT is evicted, and its key may
send more than the limit, never less. With the 262,144 slots of the milter that is unlikely, even for 100,000
senders at once. Create the limiter before the fork, so that all processes hash alike.
"""

from __future__ import annotations

import mmap
import multiprocessing
import struct
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

# Times are integers: microseconds multiplied by the number of events per minute. So an interval is an
# integer, too (`_MINUTE`), and sums are exact.
_SECOND = 1_000_000
_MINUTE = 60 * _SECOND


@dataclass(frozen=True, slots=True)
class Rate:
    """`per_minute`: events allowed per minute on average; 0: no limit. `burst`: events allowed at once."""

    per_minute: int
    burst: int

    def __post_init__(self) -> None:
        if self.per_minute < 0 or self.burst < 1:
            raise ValueError("wants 0 or more per minute, and a burst of 1 or more")

    def time(self, seconds: float) -> int:
        """Converts seconds of the monotonic clock into the unit of the other methods."""
        return round(seconds * _SECOND) * self.per_minute

    def taken(self, tat: int, time: int, keep: int = 0) -> int | None:
        """The TAT after one more event at `time`; None if that event is not allowed.

        `keep`: events of the burst that this one must leave to others.
        """
        if tat - time > (self.burst - 1 - keep) * _MINUTE:
            return None
        return self.charged(tat, time)

    def charged(self, tat: int, time: int) -> int:
        """The TAT after one more event at `time`, allowed or not."""
        return max(tat, time) + _MINUTE


_WAYS = 8
_SET = struct.Struct(f"={2 * _WAYS}q")
_SLOT = struct.Struct("=2q")
_SLOTS = 1 << 18


class Table(Protocol):
    """A mutable byte sequence of fixed size, like `mmap.mmap`."""

    def __getitem__(self, octets: slice, /) -> bytes: ...

    def __setitem__(self, octets: slice, value: bytes, /) -> None: ...


class Limiter:
    """Limits the `rate` of each key. One object serves all threads of all forked processes.

    `slots`: size of the table. `lock`, `table` (of `slots` * 16 octets) and `mark` (a hash of 64 bits,
    signed): for programs that share a table without a common fork, see `SharedTable`.
    """

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
        self._mark = mark
        # The default lock would stay locked if its holder were killed. That is no problem for the milter,
        # where all processes end together. Programs whose workers may be killed one by one pass a
        # `ProcessLock`.
        self._lock = lock or multiprocessing.get_context("fork").Lock()

    def take(self, key: str, now: float, keep: int = 0) -> bool:
        """Counts an event of `key` at `now` (monotonic seconds), if allowed. Returns whether it is.

        `keep`: events of the burst that this one must leave to others.
        """
        if not self._rate.per_minute:
            return True
        time, mark = self._rate.time(now), self._mark(key)
        with self._lock:
            slot, tat = self._found(mark)
            after = self._rate.taken(tat, time, keep)
            if after is None:
                return False
            self._write(slot, mark, after)
            return True

    def may(self, key: str, now: float, keep: int = 0) -> bool:
        """Whether `take` would allow an event; counts none."""
        if not self._rate.per_minute:
            return True
        with self._lock:
            _, tat = self._found(self._mark(key))
        return self._rate.taken(tat, self._rate.time(now), keep) is not None

    def charge(self, key: str, now: float) -> None:
        """Counts an event of `key` at `now`, even if it is not allowed; then `key` has to wait longer."""
        if not self._rate.per_minute:
            return
        time, mark = self._rate.time(now), self._mark(key)
        with self._lock:
            slot, tat = self._found(mark)
            self._write(slot, mark, self._rate.charged(tat, time))

    def _found(self, mark: int) -> tuple[int, int]:
        """Offset of the slot of `mark`, or of the slot to use for it; and its TAT, 0 if it has none."""
        begin = mark % self._sets * _SET.size
        slots = _SET.unpack(self._table[begin : begin + _SET.size])
        marks, times = slots[::2], slots[1::2]
        found = marks.index(mark) if mark in marks else times.index(min(times))
        return begin + found * _SLOT.size, times[found] if marks[found] == mark else 0

    def _write(self, slot: int, mark: int, tat: int) -> None:
        self._table[slot : slot + _SLOT.size] = _SLOT.pack(mark, tat)

    def remembered(self, now: float) -> int:
        """The number of keys with a TAT after `now`, for tests."""
        time = self._rate.time(now)
        slots = _SLOT.iter_unpack(self._table[0 : self._sets * _SET.size])
        return sum(tat > time for _, tat in slots)
