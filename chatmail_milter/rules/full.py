"""A mailbox that fills up: from three quarters of its quota the oldest mail goes, until there is room again.

What came within a day stays: a device that was off for the night must find it. So a mailbox can get full all
the same; then its senders are told. Facts to what goes; nothing is removed here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar

# Percent of the quota; dovecot.conf calls for us from the first on. Apps warn their users at 80.
FULL_FROM = 75
DOWN_TO = 70
KEPT = 24 * 3600  # seconds


class _Message(Protocol):
    @property
    def octets(self) -> int: ...

    @property
    def received(self) -> int: ...

    @property
    def uid(self) -> int: ...


_M = TypeVar("_M", bound=_Message)


def is_filling_up(used: int, limit: int) -> bool:
    """Whether a mailbox of `used` octets is full enough that mail has to go; without a limit (0) none is."""
    return limit > 0 and used * 100 >= limit * FULL_FROM


def oldest(messages: Iterable[_M], used: int, limit: int, now: float) -> list[_M]:
    """Which of `messages` go, of a mailbox that holds `used` octets and may hold `limit`.

    Those that came first, and no more of them than it takes; none of the last day. `now` is POSIX time.
    """
    too_much = used - limit * DOWN_TO // 100
    go: list[_M] = []
    for one in sorted(messages, key=lambda one: (one.received, one.uid)):
        if too_much <= 0 or one.received > now - KEPT:
            break
        go.append(one)
        too_much -= one.octets
    return go
