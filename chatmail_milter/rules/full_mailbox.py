"""Selects messages to remove from a mailbox near its quota: read ones, then those of senders that fill it.

Pure: the caller removes them. `docs/keeping.md` explains the rule. A sender is the address in From. Its
domain is verified, by DKIM or by the peer's IP address, or by the login if the user is ours. So each domain
has a share of the mailbox, whatever addresses it invents, and within it each address has one. Shares are a
part of the free space (Choudhury and Hahne, "Dynamic queue length thresholds for shared-memory packet
switches", 1998): the more senders, the smaller each share, and some space always stays free.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

from chatmail_milter import address
from chatmail_milter.gate import fields

# Percent of the quota: removal starts at the first (quota_warning in dovecot.conf), and goes down to the
# second. Apps warn their users at 80.
FULL_FROM = 75
DOWN_TO = 70
# Percent of the quota down to which unread mail is removed of domains other than the one that fills the
# mailbox: theirs may only have arrived earlier. The free rest has room for two messages of the greatest size.
OTHERS_DOWN_TO = 85
# Seconds that read mail is kept for the user's other devices, which may be off for the night.
KEPT = 24 * 3600
# Percent of the quota: the sender of most octets among this much of the latest mail is the one that fills it.
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
    """Whether mail must be removed from a mailbox with `used` of `limit` octets; never if `limit` is 0."""
    return limit > 0 and used * 100 >= limit * FULL_FROM


def sender(from_fields: str) -> str:
    """The canonical address in a message's From fields, given as text of one field per line, maybe folded.

    Empty if they name no one address. All such messages share one share; only a user's own app can store
    them.
    """
    values = [one.encode("utf-8", "surrogateescape") for one in _BETWEEN_FIELDS.split(from_fields)]
    try:
        return fields.author(values)
    except address.MalformedAddressError:
        return ""


def exceeds_share(by_address: int, by_domain: int, free: int) -> bool:
    """Whether an address has more mail in a mailbox than its share.

    In octets: `by_address` and `by_domain` is the mail of the address and of its domain, `free` the rest of
    the quota. A domain's share is half of what other domains leave; an address's share is half of what other
    addresses of its domain leave of that. So the address is within its share while 2 * by_address + by_domain
    fits into the free space.
    """
    return 2 * by_address + by_domain > free


def leaving(messages: Sequence[_M], limit: int, now: float) -> list[_M]:
    """Selects messages to remove until the mailbox is down to `DOWN_TO` percent of `limit`.

    `messages`: all of the mailbox. `limit`: its quota in octets. `now`: POSIX time. First come messages that
    are read and older than `KEPT`, oldest first. Then only those of addresses that exceed their share: of the
    domain that sent most of the `LATEST` mail, beginning with its busiest address, then of other domains, but
    of those only down to `OTHERS_DOWN_TO`.
    """
    # Summed up from `messages`: Dovecot's count may be outdated, if another process is trimming the mailbox.
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
        # For the domains after the first, the target is `OTHERS_DOWN_TO`.
        too_much = limit * (100 - OTHERS_DOWN_TO) // 100 - free
    return go


def _age(one: _Message) -> tuple[int, int]:
    return one.received, one.uid


def _sender(one: _Message) -> str:
    return one.sender


def _domain(one: _Message) -> str:
    return address.domain_of(one.sender)


def _latest(by_age: Sequence[_M], octets: int, now: float) -> list[tuple[_M, int]]:
    """The latest `octets` of mail received within `KEPT`: (message, how many of its octets count)."""
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
    """Octets per name."""
    sums: defaultdict[str, int] = defaultdict(int)
    for one, octets in counted:
        sums[name(one)] += octets
    return sums
