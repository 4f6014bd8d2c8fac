"""Limits guessing of an account's password, from however many addresses.

Before a password is checked, GCRA times (`ratelimit.py`) advance: that of the account, and two of the
account and the network that the login comes from. When too many were checked, further ones are put off
without a check, right or wrong: from the right password nobody learns more than from a wrong one.

The owner is not kept out. A password counts as no guess and is always checked if it has the fingerprint of
the account's last right one, and comes from a network where the account was logged in to before. Elsewhere
the owner is a stranger, as whoever guessed right is: preferring the right fingerprint there would check every
guess by 12 bits, beyond all limits. So a part of what is checked at once is kept for networks that have
hardly tried: guessers must come from hundreds of networks an hour to put the owner off in a new one. What
this can't tell from the owner is a guesser in the owner's own network.

A network is what one provider has about (`network`): a phone of a mobile carrier gets other addresses of it
each hour. A fingerprint is 12 bits of a keyed hash that Dovecot makes, so that what is kept here does not
help to guess: one of 4,096 wrong passwords has it. (Dovecot's "auth policy" gives as many bits away by
default.) Names and networks are kept as hashes under a key of the table's own. All of it is in memory and of
fixed size.
"""

from __future__ import annotations

import logging
import mmap
import struct
from collections.abc import Callable
from ipaddress import IPv6Address
from pathlib import Path
from typing import NamedTuple

from chatmail_milter.address import Peer
from chatmail_milter.processes.ratelimit import Limiter, Rate, Table
from chatmail_milter.processes.shared_table import ProcessLock, SharedTable

# The playbook makes it, empty, for the hooks alone. It outlives a restart of the hooks.
PATH = Path("/run/chatmail/guesses")

FINGERPRINT_BITS = 12

# Passwords of one account from one network, a minute and at once. Apps make passwords, so nobody types one
# often; but ten devices may make their first login together, each with a second look where another was first,
# and some devices may still have the old password after a change.
_RATE = Rate(20, 20)
# And from all networks together. A guesser with one machine has two networks, one of IPv4 and one of IPv6.
_RATE_OF_ALL = Rate(60, 60)
# The last 15 of these 60 are for networks that had less than four passwords of the account checked in the
# hour (an app logs in by IMAP and SMTP). They are no guesses more: whoever takes them, all wait longer for
# the next. To take them all the time, 60 a minute, guessers need 900 networks.
_KEPT = 15
_RATE_OF_NEW = Rate(4, 4)  # with minutes for seconds
_MINUTE = 60

# Bits of a prefix. IPv6: what a registry gives to a provider at least. IPv4: of a size with what
# carriers put their customers behind.
_PREFIX = {4: 16, 6: 32}

# Accounts whose passwords are being guessed at once; of more, those with least to wait for are forgotten.
_SLOTS = 1 << 16
_SLOT_SIZE = 16
# Accounts whose fingerprint is known: sets of eight by the name's hash. In a set that is full, the one that
# has been there longest is forgotten. An entry has the upper bits of the hash and the fingerprint, then
# hashes of networks, that of the last login first. Twelve: home, work, carriers, travels; one in 5,000 others
# has one of their hashes.
_SETS, _WAYS, _NETWORKS = 1 << 14, 8, 12
_ENTRY = struct.Struct(f"=Q{_NETWORKS}H")
_NAME = (1 << 64) - (1 << FINGERPRINT_BITS)
_SET_SIZE = _WAYS * _ENTRY.size
_GUESSED = _SLOTS * _SLOT_SIZE  # octets of each of the three tables before the sets
_SIZE = 3 * _GUESSED + _SETS * _SET_SIZE

_log = logging.getLogger(__name__)

_shared: list[Guesses] = []


class _Known(NamedTuple):
    """An account's last right password, and where logins came from. No network's hash is 0."""

    name: int
    networks: tuple[int, ...]


class Guesses:
    """One object serves all threads of all processes. Make it before they are forked."""

    def __init__(self, path: Path | None = None) -> None:
        """In the file `path`, else in memory of its own."""
        self._table: Table
        self._mark: Callable[[str], int]
        if path is None:
            self._table, self._lock, self._mark = mmap.mmap(-1, _SIZE), ProcessLock(), hash
        else:
            # With the rates in the name: TATs are in units of them.
            rates = f"{_RATE.per_minute} {_RATE_OF_ALL.per_minute} {_RATE_OF_NEW.per_minute}"
            table = SharedTable(path, f"gcra {_SLOTS} {rates}, {_SETS}*{_NETWORKS}", _SIZE)
            self._table, self._lock, self._mark = table, table.lock, table.mark
        self._of_network = Limiter(_RATE, _SLOTS, self._lock, self._table, self._mark)
        self._of_all = Limiter(_RATE_OF_ALL, _SLOTS, self._lock, _Behind(self._table, _GUESSED), self._mark)
        behind = _Behind(self._table, 2 * _GUESSED)
        self._of_new = Limiter(_RATE_OF_NEW, _SLOTS, self._lock, behind, self._mark)

    def may_check(self, user: str, fingerprint: int, peer: Peer, now: float) -> bool:
        """Whether a password with `fingerprint` may be checked for `user` at `now` (monotonic, seconds)."""
        if self.knows(user, fingerprint, peer):
            return True
        here = f"{user} {network(peer)}"
        keep = 0 if self._of_new.may(here, now / _MINUTE) else _KEPT
        # What is put off counts for none.
        if not self._of_all.may(user, now, keep) or not self._of_network.take(here, now):
            return False
        self._of_new.take(here, now / _MINUTE)
        return self._of_all.take(user, now, keep)

    def knows(self, user: str, fingerprint: int, peer: Peer) -> bool:
        """Whether it is that of the user's last right password, and the user logged in from there before."""
        mark, there = self._mark(user), self._there(user, peer)
        with self._lock:
            known = self._read(mark)
            mine = next((one for one in known if one.name == _name(mark, fingerprint)), None)
            if mine is None or there not in mine.networks:
                return False
            if mine.networks[0] != there:
                # So that the networks that go first are those that were not used for longest.
                self._write(mark, [_moved(one, there) if one is mine else one for one in known])
            return True

    def right(self, user: str, fingerprint: int, peer: Peer) -> None:
        """The user's password has `fingerprint`, and came from `peer`."""
        mark, there = self._mark(user), self._there(user, peer)
        with self._lock:
            known = self._read(mark)
            others = [one for one in known if (one.name ^ mark) & _NAME]
            # Another password leaves the networks known: whoever has the old one has not the new.
            networks = next((one.networks for one in known if one not in others), ())
            self._write(mark, [_moved(_Known(_name(mark, fingerprint), networks), there), *others])

    def _there(self, user: str, peer: Peer) -> int:
        # With the user's name: two accounts with one network have different hashes.
        return self._mark(f"{network(peer)} of {user}") % 0xFFFF + 1

    def _read(self, mark: int) -> list[_Known]:
        at = _at(mark)
        entries = _ENTRY.iter_unpack(self._table[at : at + _SET_SIZE])
        return [
            _Known(name, tuple(filter(None, networks))) for name, *networks in entries if name or networks[0]
        ]

    def _write(self, mark: int, known: list[_Known]) -> None:
        packed = [
            _ENTRY.pack(one.name, *one.networks, *[0] * (_NETWORKS - len(one.networks))) for one in known
        ]
        at = _at(mark)
        self._table[at : at + _SET_SIZE] = b"".join(packed[:_WAYS]).ljust(_SET_SIZE, b"\0")


class _Behind:
    """The octets of a table from one on."""

    def __init__(self, table: Table, start: int) -> None:
        self._table = table
        self._start = start

    def __getitem__(self, octets: slice) -> bytes:
        return self._table[self._start + octets.start : self._start + octets.stop]

    def __setitem__(self, octets: slice, value: bytes) -> None:
        start = self._start + octets.start
        self._table[start : start + len(value)] = value


def network(peer: Peer) -> str:
    """What counts as one network: about a provider's. Empty for what comes from this host by no address."""
    if peer is None:
        return ""
    if isinstance(peer, IPv6Address) and peer.ipv4_mapped is not None:
        peer = peer.ipv4_mapped
    bits = _PREFIX[peer.version]
    return f"{int(peer) >> peer.max_prefixlen - bits:x}/{bits}"


def share(path: Path = PATH) -> None:
    """Before workers are forked: make the one that `shared` gives each of them."""
    if not path.exists():
        _log.warning("event=guesses-not-kept")
    _shared[:] = [Guesses(path if path.exists() else None)]


def shared() -> Guesses:
    """The one of all workers; a new one where there are none."""
    return _shared[0] if _shared else Guesses()


def _name(mark: int, fingerprint: int) -> int:
    return mark & _NAME | fingerprint


def _moved(known: _Known, there: int) -> _Known:
    """`there` is where the last login came from."""
    return _Known(known.name, (there, *(one for one in known.networks if one != there))[:_NETWORKS])


def _at(mark: int) -> int:
    # By bits that are part of an entry.
    return 3 * _GUESSED + (mark >> FINGERPRINT_BITS) % _SETS * _SET_SIZE
