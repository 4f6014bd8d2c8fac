"""Figures of Postfix's queue: number, age, destinations and reasons. Pure: the queue is an argument."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol


class Queued(Protocol):
    """A message in the queue."""

    @property
    def queue(self) -> str: ...

    @property
    def arrived(self) -> datetime: ...

    @property
    def size(self) -> int: ...

    @property
    def domains(self) -> tuple[str, ...]: ...

    @property
    def reasons(self) -> tuple[str, ...]: ...


class QueueAwayError(Exception):
    """The queue can't be read; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Waiting mail for one domain. A message to several counts for each. `reasons`: Postfix's texts."""

    domain: str
    messages: int
    size: int
    held: int
    oldest: datetime
    reasons: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Queue:
    """All waiting mail. `by_queue`: messages by Postfix's queues (`active`, `deferred`, `hold`, …)."""

    messages: int
    size: int
    oldest: datetime | None
    by_queue: Mapping[str, int]
    destinations: tuple[Destination, ...]


@dataclass(slots=True)
class _Sum:
    messages: int = 0
    size: int = 0
    held: int = 0
    oldest: datetime | None = None
    reasons: dict[str, int] = field(default_factory=dict)


def queue(messages: Sequence[Queued]) -> Queue:
    """The figures; destinations with most messages come first."""
    by_queue: dict[str, int] = {}
    sums: dict[str, _Sum] = {}
    for one in messages:
        by_queue[one.queue] = by_queue.get(one.queue, 0) + 1
        for domain in one.domains:
            _add(sums.setdefault(domain, _Sum()), one)
    return Queue(
        len(messages),
        sum(one.size for one in messages),
        min((one.arrived for one in messages), default=None),
        dict(sorted(by_queue.items())),
        tuple(_destinations(sums.items())),
    )


def _add(total: _Sum, one: Queued) -> None:
    total.messages += 1
    total.size += one.size
    total.held += one.queue == "hold"
    total.oldest = min(total.oldest or one.arrived, one.arrived)
    for reason in one.reasons:
        total.reasons[reason] = total.reasons.get(reason, 0) + 1


def _destinations(sums: Iterable[tuple[str, _Sum]]) -> list[Destination]:
    found = [
        Destination(
            domain,
            one.messages,
            one.size,
            one.held,
            one.oldest,
            dict(sorted(one.reasons.items(), key=lambda pair: (-pair[1], pair[0]))),
        )
        for domain, one in sums
        if one.oldest is not None
    ]
    return sorted(found, key=lambda one: (-one.messages, one.domain))
