"""Rate limit on unknown recipients per peer, against enumeration of accounts.

GCRA (`processes.rate`) per IPv4 address and IPv6 /64. Only the first reply about each unknown recipient
counts. Beyond the limit, a peer gets no reply about recipients that it has not asked for before, whether
known or unknown; mail to those that it has asked for is still accepted. Memory is fixed, and holds hashes of
addresses, with a random key per process.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable

from chatmail_milter.accounts.creation_limit import network_named
from chatmail_milter.processes.rate import Rate
from chatmail_milter.processes.ratelimit import Limiter

# Slots of 16 octets for peers. With more peers at once, those with the fewest unknown recipients are evicted.
_PEERS = 1 << 16
# Slots of 8 octets for (peer, recipient) pairs, of all peers together.
_ANSWERS = 1 << 18
_WAYS = 8


class EnumerationLimit:
    """The limit for all peers. Not thread-safe."""

    def __init__(self, rate: Rate, clock: Callable[[], float] = time.monotonic) -> None:
        self._limiter = Limiter(rate, _PEERS)
        self._told = RecentSet(_ANSWERS)
        self._clock = clock

    def allows(self, client_address: str, recipient: str) -> bool:
        """Whether to reply to the peer about `recipient` (canonical; a malformed one as it came)."""
        peer = _peer(client_address)
        return f"{peer} {recipient}" in self._told or self._limiter.may(peer, self._clock())

    def told(self, client_address: str, recipient: str, *, known: bool) -> None:
        """Records a reply about a recipient, after `allows` returned True."""
        peer = _peer(client_address)
        if self._told.add(f"{peer} {recipient}") and not known:
            self._limiter.take(peer, self._clock())


class RecentSet:
    """A set of hashes of texts, of fixed size, with LRU eviction.

    Set-associative: a text's hash selects eight of the `slots`.
    """

    def __init__(self, slots: int) -> None:
        self._sets = slots // _WAYS
        self._marks = array("q", bytes(8 * _WAYS * self._sets))

    def __contains__(self, text: str) -> bool:
        mark = hash(text)
        begin = mark % self._sets * _WAYS
        return mark in self._marks[begin : begin + _WAYS]

    def add(self, text: str) -> bool:
        """Adds a text, or marks it as most recently used. Returns whether it is new."""
        mark = hash(text)
        begin = mark % self._sets * _WAYS
        marks = self._marks[begin : begin + _WAYS]
        new = mark not in marks
        marks.pop(_WAYS - 1 if new else marks.index(mark))
        marks.insert(0, mark)
        self._marks[begin : begin + _WAYS] = marks
        return new


def _peer(client_address: str) -> str:
    return network_named(client_address) or ""  # Postfix passes `unknown` without an address.
