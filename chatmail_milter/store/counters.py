"""Counters for monitoring, since the store was created. No counter ever decreases.

They are the rows of the hour `TOTAL` in the tables of `traffic`, which has the same sums by the hour. Those
are deleted after 90 days, and can be corrected, so their sum can decrease. `Peers.add` writes both in one
transaction. The lists of ways, kinds and reasons limit the number of rows. They name no peer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from sqlalchemy import Connection, Engine, select

from chatmail_milter.store.contacts import Contact, CountedEvent, bucket
from chatmail_milter.store.tables import TOTAL, traffic, traffic_latencies
from chatmail_milter.store.traffic import way
from chatmail_milter.store.upsert import upsert_all

# Besides `traffic.WAYS`: verdicts of the milter by the service that the message came to (the label is verdict
# and reason, separated by a blank), answers of `/mxdeliv` by HTTP status, push notifications by outcome.
JUDGED: Mapping[str, str] = MappingProxyType(
    {
        "submission": "judged-submit",
        "smtp": "judged-smtp",
        "mxdeliv": "judged-mxdeliv",
        "mixed": "judged-mixed",
    }
)
KINDS = (*JUDGED.values(), "mxdeliv", "push")


@dataclass(slots=True)
class Counted:
    """One way or kind. `labels`: numbers by label, which is the reason of a failed attempt, empty for others.

    `timed`: how many of them have a time; `seconds`: the sum of these times; `buckets`: their histogram, see
    `contacts`.
    """

    labels: Counter[str] = field(default_factory=Counter)
    timed: int = 0
    seconds: float = 0.0
    buckets: Counter[int] = field(default_factory=Counter)


def write(connection: Connection, contacts: Iterable[Contact], events: Iterable[CountedEvent]) -> None:
    """Adds attempts and events.

    An attempt that `instead_of` corrects stays counted as a failure, and counts as a success too.
    """
    rows: dict[tuple[str, str], list[float]] = {}
    buckets: Counter[tuple[str, int]] = Counter()
    all_events = [_of(contact) for contact in contacts]
    all_events += events
    for one in all_events:
        row = rows.setdefault((one.kind, one.label), [0, 0, 0.0])
        row[0] += 1
        if one.seconds is not None:
            row[1] += 1
            row[2] += one.seconds
            buckets[one.kind, bucket(one.seconds)] += 1
    # Sorted, so that two writers lock rows in the same order.
    upsert_all(
        connection,
        traffic,
        [
            {"hour": TOTAL, "way": kind, "reason": label, "messages": n, "timed": timed, "seconds": seconds}
            for (kind, label), (n, timed, seconds) in sorted(rows.items())
        ],
        add=("messages", "timed", "seconds"),
    )
    upsert_all(
        connection,
        traffic_latencies,
        [
            {"hour": TOTAL, "way": kind, "bucket": at, "successes": n}
            for (kind, at), n in sorted(buckets.items())
        ],
        add=("successes",),
    )


def read(engine: Engine) -> dict[str, Counted]:
    """The counters by way and kind. A way or kind that was never counted is left out."""
    found: dict[str, Counted] = {}
    with engine.connect() as connection:
        for row in connection.execute(select(traffic).where(traffic.c.hour == TOTAL)):
            one = found.setdefault(row.way, Counted())
            one.labels[row.reason] += row.messages
            one.timed += row.timed
            one.seconds += row.seconds
        for row in connection.execute(select(traffic_latencies).where(traffic_latencies.c.hour == TOTAL)):
            found.setdefault(row.way, Counted()).buckets[row.bucket] += row.successes
    return found


def _of(contact: Contact) -> CountedEvent:
    label = "" if contact.ok else contact.reason or "unknown"
    return CountedEvent(way(contact), label, contact.latency if contact.ok else None)
