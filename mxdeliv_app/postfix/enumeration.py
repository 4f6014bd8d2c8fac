"""Limit of recipients without an account that one peer may be told of: who tries names learns few of them.

GCRA (`processes.rate`) for each IPv4 address and IPv6 /64. Only the first answer about an unknown recipient
counts. Beyond the limit a peer hears no more of recipients that it was not told of before, be they known or
not; mail to those that it was told of goes on. Memory is of fixed size, and holds hashes of addresses under a
key of this run of the program.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable

from chatmail_milter.accounts.creation_limit import network_named
from chatmail_milter.processes.rate import Rate
from chatmail_milter.processes.ratelimit import Limiter

# Of more peers than this at once, those that were told least are forgotten. 16 octets each.
_PEERS = 1 << 16
# Answers that are remembered, of all peers. 8 octets each.
_ANSWERS = 1 << 18
_WAYS = 8


class EnumerationLimit:
    """One object for the whole relay; not for threads."""

    def __init__(self, rate: Rate, clock: Callable[[], float] = time.monotonic) -> None:
        self._limiter = Limiter(rate, _PEERS)
        self._told = RecentSet(_ANSWERS)
        self._clock = clock

    def allows(self, client_address: str, recipient: str) -> bool:
        """Whether the peer may hear of `recipient` (canonical, or what Postfix has of a malformed one)."""
        peer = _peer(client_address)
        return f"{peer} {recipient}" in self._told or self._limiter.may(peer, self._clock())

    def told(self, client_address: str, recipient: str, *, known: bool) -> None:
        """The peer is told of a recipient, as `allows` allowed."""
        peer = _peer(client_address)
        if self._told.add(f"{peer} {recipient}") and not known:
            self._limiter.take(peer, self._clock())


class RecentSet:
    """A set of fixed size: texts by their hash, in `slots` places. What was used longest ago is forgotten.

    A text has one of eight places, by its hash.
    """

    def __init__(self, slots: int) -> None:
        self._sets = slots // _WAYS
        self._marks = array("q", bytes(8 * _WAYS * self._sets))

    def __contains__(self, text: str) -> bool:
        mark = hash(text)
        begin = mark % self._sets * _WAYS
        return mark in self._marks[begin : begin + _WAYS]

    def add(self, text: str) -> bool:
        """Whether it is new; now it is the last to be forgotten."""
        mark = hash(text)
        begin = mark % self._sets * _WAYS
        marks = self._marks[begin : begin + _WAYS]
        new = mark not in marks
        marks.pop(_WAYS - 1 if new else marks.index(mark))
        marks.insert(0, mark)
        self._marks[begin : begin + _WAYS] = marks
        return new


def _peer(client_address: str) -> str:
    return network_named(client_address) or ""  # Postfix says `unknown` where it knows no address.
