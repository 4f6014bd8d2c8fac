"""Rate limit on checks of an account's password, against guessing, whatever the number of IP addresses.

The limits are GCRA times (`ratelimit.py`): one of the account, and two of the account and the network of the
login. Beyond a limit a password gets a temporary failure without a check, right or wrong, so the answer
reveals nothing.

The owner can still log in. A password is always checked, and does not count, if it has the fingerprint of the
account's last right password and comes from a network in which the account was logged in to before. In
another network the owner can't be told from a guesser: to prefer the right fingerprint there would check
every guess by 12 bits, beyond all limits. So a part of the burst is reserved for networks with few tries:
guessers must come from hundreds of networks an hour to delay the owner in a new one. A guesser in the owner's
own network can't be told from the owner.

A network is about as large as one provider's (`network`), because a phone gets other addresses of its carrier
each hour. A fingerprint is 12 bits of a keyed hash, made by Dovecot. It is no help in guessing: one of 4,096
wrong passwords has the same. (Dovecot's "auth policy" reveals as many bits by default.) Names and networks
are stored as hashes with a key of the table's own. All of this is in memory, of fixed size.
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
    """Fingerprint of an account's last right password, and networks of its logins. No network's hash is 0."""

    name: int
    networks: tuple[int, ...]


class Guesses:
    """The limits. One object serves all threads of all processes; create it before they are forked."""

    def __init__(self, path: Path | None = None) -> None:
        """With the table in the file `path`, else in private memory."""
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
        here = f"{user} {provider_network(peer)}"
        keep = 0 if self._of_new.may(here, now / _MINUTE) else _KEPT
        # What is put off counts for none.
        if not self._of_all.may(user, now, keep) or not self._of_network.take(here, now):
            return False
        self._of_new.take(here, now / _MINUTE)
        return self._of_all.take(user, now, keep)

    def knows(self, user: str, fingerprint: int, peer: Peer) -> bool:
        """Whether the last right password has `fingerprint`, and the user logged in from there before."""
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
        """Stores the fingerprint of the right password, and the network of `peer`."""
        mark, there = self._mark(user), self._there(user, peer)
        with self._lock:
            known = self._read(mark)
            others = [one for one in known if (one.name ^ mark) & _NAME]
            # Another password leaves the networks known: whoever has the old one has not the new.
            networks = next((one.networks for one in known if one not in others), ())
            self._write(mark, [_moved(_Known(_name(mark, fingerprint), networks), there), *others])

    def _there(self, user: str, peer: Peer) -> int:
        # With the user's name: two accounts with one network have different hashes.
        return self._mark(f"{provider_network(peer)} of {user}") % 0xFFFF + 1

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
    """A table's octets from a given one on."""

    def __init__(self, table: Table, start: int) -> None:
        self._table = table
        self._start = start

    def __getitem__(self, octets: slice) -> bytes:
        return self._table[self._start + octets.start : self._start + octets.stop]

    def __setitem__(self, octets: slice, value: bytes) -> None:
        start = self._start + octets.start
        self._table[start : start + len(value)] = value


def provider_network(peer: Peer) -> str:
    """The network of a peer, about as large as a provider's. Empty for a local process."""
    if peer is None:
        return ""
    if isinstance(peer, IPv6Address) and peer.ipv4_mapped is not None:
        peer = peer.ipv4_mapped
    bits = _PREFIX[peer.version]
    return f"{int(peer) >> peer.max_prefixlen - bits:x}/{bits}"


def share(path: Path = PATH) -> None:
    """Creates the object that `shared` returns. Call before workers are forked."""
    if not path.exists():
        _log.warning("event=guesses-not-kept")
    _shared[:] = [Guesses(path if path.exists() else None)]


def shared() -> Guesses:
    """The object of all workers; a new one if `share` was not called."""
    return _shared[0] if _shared else Guesses()


def _name(mark: int, fingerprint: int) -> int:
    return mark & _NAME | fingerprint


def _moved(known: _Known, there: int) -> _Known:
    """With `there` as the network of the last login."""
    return _Known(known.name, (there, *(one for one in known.networks if one != there))[:_NETWORKS])


def _at(mark: int) -> int:
    # By bits that are part of an entry.
    return 3 * _GUESSED + (mark >> FINGERPRINT_BITS) % _SETS * _SET_SIZE
