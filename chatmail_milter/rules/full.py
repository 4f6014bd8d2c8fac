"""A mailbox that fills up: which mail goes, so that whoever fills it loses, and nobody else's unread mail.

Facts to what goes; nothing is removed here. `docs/keeping.md` has the rule in words. A sender is the address
in From. On mail from outside, DKIM or the peer's address vouches for its domain; on mail from here it is the
login. So a domain has a share, whatever addresses it makes up, and within it each address has one. The shares
are a part of what is free (Choudhury and Hahne, "Dynamic queue length thresholds for shared-memory packet
switches", 1998): the more senders there are, the smaller is each one's share, and some room is always left.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

from chatmail_milter import address
from chatmail_milter.gate import fields

# Percent of the quota; dovecot.conf calls for us from the first on. Apps warn their users at 80.
FULL_FROM = 75
DOWN_TO = 70
# Percent of the quota: unread mail of domains other than the one that fills the mailbox goes only down to
# this, for they may only have been there first. What is then free has room for two of the largest messages.
OTHERS_DOWN_TO = 85
# Seconds. Mail that was read stays as long as this for another device, which may be off for the night.
KEPT = 24 * 3600
# Percent of the quota: who sent most of this much mail, the last that came, is the one who fills the mailbox.
LATEST = 25

_BETWEEN_FIELDS = re.compile(r"\n(?![ \t])")


class _Message(Protocol):
    @property
    def octets(self) -> int: ...

    @property
    def received(self) -> int: ...

    @property
    def uid(self) -> int: ...

    @property
    def seen(self) -> bool: ...

    @property
    def sender(self) -> str: ...


_M = TypeVar("_M", bound=_Message)


def is_filling_up(used: int, limit: int) -> bool:
    """Whether a mailbox of `used` octets is full enough that mail has to go; without a limit (0) none is."""
    return limit > 0 and used * 100 >= limit * FULL_FROM


def sender(from_fields: str) -> str:
    """The canonical address in the From fields of a message: lines, in which a field may be folded.

    Empty for all that name nobody, together: only a user's own app can put such a message into a mailbox.
    """
    values = [one.encode("utf-8", "surrogateescape") for one in _BETWEEN_FIELDS.split(from_fields)]
    try:
        return fields.author(values)
    except address.MalformedAddressError:
        return ""


def exceeds_share(by_address: int, by_domain: int, free: int) -> bool:
    """Whether an address has more mail in a mailbox than its share, all in octets; `free`: of the quota.

    A domain's share is half of what others leave. An address's is half of what others of its domain leave of
    that: so it has its share when what it takes twice, and its domain once, is free.
    """
    return 2 * by_address + by_domain > free


def leaving(messages: Sequence[_M], limit: int, now: float) -> list[_M]:
    """Which of `messages`, all that a mailbox holds, go; it may hold `limit` octets.

    No more of them than it takes for `DOWN_TO` percent, and first those that were read and came `KEPT` ago or
    earlier, the oldest first. Of the others only those of addresses that exceed their share: first of the
    domain that sent most of the `LATEST` mail, and of its address that did; of other domains only down to
    `OTHERS_DOWN_TO`. `now` is POSIX time.
    """
    # By these very messages: what Dovecot counted a moment ago may have been removed by another such program.
    too_much = sum(one.octets for one in messages) - limit * DOWN_TO // 100
    go: list[_M] = []
    held: list[_M] = []
    for one in sorted(messages, key=_age):
        if not one.seen or one.received > now - KEPT:
            held.append(one)
        elif too_much > 0:
            go.append(one)
            too_much -= one.octets
    if too_much <= 0:
        return go
    free = limit * (100 - DOWN_TO) // 100 - too_much
    by_domain = _grouped(held, _domain)
    latest = _latest(held, limit * LATEST // 100, now)
    sent_by_domain = _sums(latest, _domain)
    sent = _sums(latest, _sender)
    for domain in sorted(by_domain, key=lambda name: (-sent_by_domain[name], name)):
        of_domain = sum(one.octets for one in by_domain[domain])
        by_address = _grouped(by_domain[domain], _sender)
        for writer in sorted(by_address, key=lambda name: (-sent[name], name)):
            of_address = sum(one.octets for one in by_address[writer])
            for one in sorted(by_address[writer], key=lambda one: (not one.seen, *_age(one))):
                if too_much <= 0 or not exceeds_share(of_address, of_domain, free):
                    break
                go.append(one)
                too_much -= one.octets
                free += one.octets
                of_domain -= one.octets
                of_address -= one.octets
        # What is too much for this domain is not yet too much for the next.
        too_much = limit * (100 - OTHERS_DOWN_TO) // 100 - free
    return go


def _age(one: _Message) -> tuple[int, int]:
    return one.received, one.uid


def _sender(one: _Message) -> str:
    return one.sender


def _domain(one: _Message) -> str:
    return address.domain_of(one.sender)


def _latest(by_age: Sequence[_M], octets: int, now: float) -> list[tuple[_M, int]]:
    """The last `octets` of what came within `KEPT`: each message, and its octets among them."""
    found: list[tuple[_M, int]] = []
    for one in reversed(by_age):
        if octets <= 0 or one.received <= now - KEPT:
            break
        found.append((one, min(one.octets, octets)))
        octets -= one.octets
    return found


def _grouped(messages: Iterable[_M], name: Callable[[_M], str]) -> dict[str, list[_M]]:
    groups: defaultdict[str, list[_M]] = defaultdict(list)
    for one in messages:
        groups[name(one)].append(one)
    return groups


def _sums(counted: Iterable[tuple[_M, int]], name: Callable[[_M], str]) -> dict[str, int]:
    """How many octets there are by each name."""
    sums: defaultdict[str, int] = defaultdict(int)
    for one, octets in counted:
        sums[name(one)] += octets
    return sums
