"""Limits guessing of an account's password, from however many addresses.

Before a password is checked, the account's GCRA time (`processes.rate`) advances. When too many were checked,
further ones are put off without a check, right or wrong. The owner is not kept out: a password with the
fingerprint of the account's last right one is always checked and counts as no guess.

A fingerprint is 12 bits of a keyed hash that Dovecot makes, so that what is kept here does not help to guess:
one of 4,096 wrong passwords has it. (Dovecot's "auth policy" gives as many bits away by default.) Names are
kept as hashes under a key of the table's own. All of it is in memory and of fixed size.
"""

from __future__ import annotations

import logging
import mmap
import struct
from collections.abc import Callable
from pathlib import Path

from chatmail_milter.processes.lock import ProcessLock
from chatmail_milter.processes.rate import Rate
from chatmail_milter.processes.ratelimit import Limiter, Table
from chatmail_milter.processes.shared_table import SharedTable

# The playbook makes it, empty, for the hooks alone. It outlives a restart of the hooks.
PATH = Path("/run/chatmail/guesses")

FINGERPRINT_BITS = 12

# Passwords of one account, a minute and at once. Apps make passwords, so nobody types one often; but ten
# devices may make their first login together, each with a second look where another was first, and some
# devices may still have the old password after a change.
_RATE = Rate(20, 20)

# Accounts whose passwords are being guessed at once; of more, those with least to wait for are forgotten.
_SLOTS = 1 << 16
_SLOT_SIZE = 16
# Accounts whose fingerprint is known: sets of eight by the name's hash. In a set that is full, the one that
# has been there longest is forgotten. An entry has the upper bits of the hash and the fingerprint.
_SETS, _WAYS = 1 << 14, 8
_SET = struct.Struct(f"={_WAYS}Q")
_NAME = (1 << 64) - (1 << FINGERPRINT_BITS)
_SIZE = _SLOTS * _SLOT_SIZE + _SETS * _SET.size

_log = logging.getLogger(__name__)

_shared: list[Guesses] = []


class Guesses:
    """One object serves all threads of all processes. Make it before they are forked."""

    def __init__(self, path: Path | None = None) -> None:
        """In the file `path`, else in memory of its own."""
        self._table: Table
        self._mark: Callable[[str], int]
        if path is None:
            self._table, self._lock, self._mark = mmap.mmap(-1, _SIZE), ProcessLock(), hash
        else:
            table = SharedTable(path, f"gcra {_SLOTS}, known {_SETS}", _SIZE)
            self._table, self._lock, self._mark = table, table.lock, table.mark
        self._checked = Limiter(_RATE, _SLOTS, self._lock, self._table, self._mark)

    def may_check(self, user: str, fingerprint: int, now: float) -> bool:
        """Whether a password with `fingerprint` may be checked for `user` at `now` (monotonic, seconds)."""
        return self.knows(user, fingerprint) or self._checked.take(user, now)

    def knows(self, user: str, fingerprint: int) -> bool:
        """Whether it is that of the user's last right password."""
        mark = self._mark(user)
        with self._lock:
            return _entry(mark, fingerprint) in self._read(mark)

    def right(self, user: str, fingerprint: int) -> None:
        """The user's password has `fingerprint`."""
        mark = self._mark(user)
        with self._lock:
            others = [one for one in self._read(mark) if (one ^ mark) & _NAME]
            known = [_entry(mark, fingerprint), *others][:_WAYS]
            at = _at(mark)
            self._table[at : at + _SET.size] = _SET.pack(*known, *[0] * (_WAYS - len(known)))

    def _read(self, mark: int) -> tuple[int, ...]:
        at = _at(mark)
        return _SET.unpack(self._table[at : at + _SET.size])


def share(path: Path = PATH) -> None:
    """Before workers are forked: make the one that `shared` gives each of them."""
    if not path.exists():
        _log.warning("event=guesses-not-kept")
    _shared[:] = [Guesses(path if path.exists() else None)]


def shared() -> Guesses:
    """The one of all workers; a new one where there are none."""
    return _shared[0] if _shared else Guesses()


def _entry(mark: int, fingerprint: int) -> int:
    return mark & _NAME | fingerprint


def _at(mark: int) -> int:
    # By bits that are part of an entry.
    return _SLOTS * _SLOT_SIZE + (mark >> FINGERPRINT_BITS) % _SETS * _SET.size
