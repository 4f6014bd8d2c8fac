"""Traffic by way: numbers, success rates and latencies, in total and by the hour."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

from sqlalchemy import Engine

from chatmail_milter.store import traffic as kept
from chatmail_milter.store.contacts import Sum, quantile
from chatmail_milter.store.traffic import WAYS


@dataclass(frozen=True, slots=True)
class Span:
    """A period that ends now, with a `length`, divided into pieces of `step`."""

    length: timedelta
    step: timedelta


SPANS: Mapping[str, Span] = MappingProxyType(
    {
        "day": Span(timedelta(days=1), timedelta(hours=1)),
        "week": Span(timedelta(days=7), timedelta(hours=6)),
        "quarter": Span(timedelta(days=90), timedelta(days=1)),
    }
)


@dataclass(frozen=True, slots=True)
class Flow:
    """Messages of one way in one period. Without messages, share and latencies are None.

    `share`: of successes. p50 and p95 are within 9.1 %, and None for the hours of a peer. `reasons`: of
    failures.
    """

    attempts: int
    successes: int
    failures: int
    share: float | None
    mean: float | None
    p50: float | None
    p95: float | None
    reasons: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a period, which begins at `at`, by way or road. Ways without messages are left out."""

    at: datetime
    flows: Mapping[str, Flow]


@dataclass(frozen=True, slots=True)
class Traffic:
    """A period. `total` has every way. `pieces` are in order of time; the last one is the current one."""

    since: datetime
    step: timedelta
    total: Mapping[str, Flow]
    pieces: tuple[Piece, ...]


def relay(engine: Engine, span: Span, now: datetime) -> Traffic:
    """The traffic of the relay."""
    since = _since(span, now)
    return _traffic(kept.hours(engine, since), span, since, now, WAYS)


def of_peer(engine: Engine, domain: str, span: Span, now: datetime) -> Traffic:
    """The traffic of one peer, by the roads `https` and `smtp` to it, and `inbound` from it."""
    since = _since(span, now)
    return _traffic(kept.of_peer(engine, domain, since), span, since, now, ("https", "smtp", "inbound"))


def flow(total: Sum) -> Flow:
    """The flow with these sums."""
    return Flow(
        attempts=total.attempts,
        successes=total.successes,
        failures=total.attempts - total.successes,
        share=total.successes / total.attempts if total.attempts else None,
        mean=total.seconds / total.timed if total.timed else None,
        p50=quantile(total.buckets, 0.5),
        p95=quantile(total.buckets, 0.95),
        reasons={reason: number for reason, number in total.reasons.most_common() if number > 0},
    )


def _since(span: Span, now: datetime) -> datetime:
    """The beginning of the first piece. The last piece contains `now` and ends at a whole step."""
    seconds = span.step.total_seconds()
    end = (int(now.timestamp() // seconds) + 1) * seconds
    return datetime.fromtimestamp(end, UTC) - span.length


def _traffic(
    hours: Mapping[tuple[datetime, str], Sum],
    span: Span,
    since: datetime,
    now: datetime,
    ways: Iterable[str],
) -> Traffic:
    total = {way: Sum() for way in ways}
    number = span.length // span.step
    pieces: list[dict[str, Sum]] = [{} for _ in range(number)]
    for (hour, way), one in hours.items():
        place = (hour - since) // span.step
        # A clock that was put back leaves hours that are yet to come.
        if hour <= now and 0 <= place < number:
            _add(total.setdefault(way, Sum()), one)
            _add(pieces[place].setdefault(way, Sum()), one)
    return Traffic(
        since,
        span.step,
        {way: flow(one) for way, one in total.items()},
        tuple(
            Piece(since + place * span.step, {way: flow(one) for way, one in sorted(piece.items())})
            for place, piece in enumerate(pieces)
        ),
    )


def _add(to: Sum, one: Sum) -> None:
    to.attempts += one.attempts
    to.successes += one.successes
    to.timed += one.timed
    to.seconds += one.seconds
    to.buckets.update(one.buckets)
    to.reasons.update(one.reasons)
