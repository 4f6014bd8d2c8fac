"""Traffic by the hour: of the relay by each way that mail takes, and of each peer by road.

Rates, shares and latencies over time are computed from it. `Peers.add` writes an hour and the counts of peers
in one transaction; an hour is kept for 90 days. The lists of ways and reasons limit the relay's own rows; a
number limits those of peers, because strangers can cause many. No row has an address
or an unproved domain. The rows of the hour `TOTAL` are those of `counters`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from sqlalchemy import Connection, Engine, delete, func, select

from chatmail_milter.store import TRAFFIC_KEPT
from chatmail_milter.store.contacts import Contact, Sum
from chatmail_milter.store.tables import TOTAL, traffic, traffic_latencies, traffic_peers
from chatmail_milter.store.upsert import upsert_all

# Rows of peers, about 50 MB of SQLite. A thousand peers with mail in every hour fill it in five days.
MOST_OF_PEERS = 250_000
# What our users submit, what we send by each road, what peers bring by each door.
WAYS = ("submission", "out-https", "out-smtp", "in-mxdeliv", "in-smtp")

_HOUR = 3600  # seconds


def way(contact: Contact) -> str:
    """Which of `WAYS` the message of an attempt took."""
    if contact.road == "submission":
        return contact.road
    return f"in-{contact.door}" if contact.road == "inbound" else f"out-{contact.road}"


def write(connection: Connection, contacts: Iterable[Contact], unproven: str) -> None:
    """Add attempts to their hours. Those of the domain `unproven` are no peer's."""
    relay: dict[tuple[int, str], Sum] = {}
    peers: dict[tuple[int, str, str], Sum] = {}
    for one in contacts:
        hour = _hour(one.at)
        relay.setdefault((hour, way(one)), Sum()).add(one)
        if one.road != "submission" and one.domain != unproven:
            peers.setdefault((hour, one.domain, one.road), Sum()).add(one)
    rows, latencies = [], []
    # Sorted, so that two writers lock rows in the same order.
    for (hour, taken), total in sorted(relay.items()):
        key = {"hour": hour, "way": taken}
        # A success that was counted as a failure before takes one from its reason.
        for reason, number in [("", total.successes), *sorted(total.reasons.items())]:
            timed, seconds = (0, 0.0) if reason else (total.timed, total.seconds)
            if number:
                rows.append(key | {"reason": reason, "messages": number, "timed": timed, "seconds": seconds})
        latencies += [key | {"bucket": at, "successes": n} for at, n in sorted(total.buckets.items())]
    upsert_all(connection, traffic, rows, add=("messages", "timed", "seconds"))
    upsert_all(connection, traffic_latencies, latencies, add=("successes",))
    added = ("attempts", "successes", "timed", "seconds")
    of_peers = [
        {"hour": hour, "domain": domain, "road": road} | {name: getattr(total, name) for name in added}
        for (hour, domain, road), total in sorted(peers.items())
    ]
    upsert_all(connection, traffic_peers, of_peers, add=added)


def hours(engine: Engine, since: datetime) -> dict[tuple[datetime, str], Sum]:
    """What went each way in each hour that begins at `since` or later."""
    found: dict[tuple[datetime, str], Sum] = {}
    with engine.connect() as connection:
        recent = traffic.c.hour >= _hour(since)
        for row in connection.execute(select(traffic).where(recent)):
            total = found.setdefault((_begin(row.hour), row.way), Sum())
            # Of an attempt that failed in the hour before and did not after all, there is one too few.
            number = max(row.messages, 0)
            total.attempts += number
            if row.reason:
                total.reasons[row.reason] += number
                continue
            total.successes, total.timed, total.seconds = number, row.timed, row.seconds
        recent = traffic_latencies.c.hour >= _hour(since)
        for row in connection.execute(select(traffic_latencies).where(recent)):
            found.setdefault((_begin(row.hour), row.way), Sum()).buckets[row.bucket] += row.successes
    return found


def of_peer(engine: Engine, domain: str, since: datetime) -> dict[tuple[datetime, str], Sum]:
    """The same of one peer, by its roads; without reasons and buckets."""
    mine = (traffic_peers.c.domain == domain) & (traffic_peers.c.hour >= _hour(since))
    with engine.connect() as connection:
        return {
            (_begin(row.hour), row.road): Sum(row.attempts, row.successes, row.timed, row.seconds)
            for row in connection.execute(select(traffic_peers).where(mine))
        }


def by_peer(engine: Engine, since: datetime) -> dict[tuple[str, str], tuple[int, int]]:
    """Attempts and successes since, by domain and road."""
    table = traffic_peers.c
    sums = select(table.domain, table.road, func.sum(table.attempts), func.sum(table.successes))
    recent = sums.where(table.hour >= _hour(since)).group_by(table.domain, table.road)
    with engine.connect() as connection:
        return {(row[0], row[1]): (int(row[2]), int(row[3])) for row in connection.execute(recent)}


def forget_old(engine: Engine, now: datetime, most: int = MOST_OF_PEERS) -> int:
    """Forget the hours of `TRAFFIC_KEPT`, and the oldest of peers' of more rows than `most`; how many."""
    since, forgotten = _hour(now - TRAFFIC_KEPT), 0
    with engine.begin() as connection:
        by_hour = select(traffic_peers.c.hour, func.count()).group_by(traffic_peers.c.hour)
        rows: Mapping[int, int] = dict(iter(connection.execute(by_hour)))
        left, oldest = most, since
        for hour in sorted(rows, reverse=True):
            left -= rows[hour]
            if left < 0:
                oldest = max(since, hour + 1)
                break
        for table, first in ((traffic, since), (traffic_latencies, since), (traffic_peers, oldest)):
            old = (table.c.hour > TOTAL) & (table.c.hour < first)
            forgotten += connection.execute(delete(table).where(old)).rowcount
    return forgotten


def _hour(at: datetime) -> int:
    return int(at.timestamp()) // _HOUR


def _begin(hour: int) -> datetime:
    return datetime.fromtimestamp(hour * _HOUR, UTC)
