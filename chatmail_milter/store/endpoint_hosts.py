"""Facts about single HTTPS hosts of a domain: whether it is a chatmail server, and its size limit.

Shared by all relay processes. Each fact has an expiry time, because software and limits change. The key of a
host is that of the target (`key` of `mxdeliv_app.https.connection.Target`): another port, path or pinned
address is another host.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    Connection,
    Engine,
    Row,
    and_,
    case,
    delete,
    func,
    select,
)

from chatmail_milter.store.tables import endpoint_hosts
from chatmail_milter.store.upsert import upsert

PROVEN_FOR = timedelta(days=1)
# Shorter, since a web server that accepts everything may be a maintenance page; a new test costs one empty
# POST.
DISPROVEN_FOR = timedelta(hours=1)
LIMITED_FOR = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class HostState:
    """The facts about one host, each with its expiry time. `size_limit`: octets."""

    host: str
    proven_until: datetime | None = None
    disproven_until: datetime | None = None
    size_limit: int | None = None
    limited_until: datetime | None = None

    def holds(self, now: datetime) -> bool:
        """Whether any fact is still valid."""
        times = (self.proven_until, self.disproven_until, self.limited_until)
        return any(until is not None and now < until for until in times)

    def proven(self, now: datetime) -> bool:
        """Whether it is known to be a chatmail server."""
        return self.proven_until is not None and now < self.proven_until

    def disproven(self, now: datetime) -> bool:
        """Whether it is known not to be a chatmail server."""
        return self.disproven_until is not None and now < self.disproven_until

    def limits(self, size: int, now: datetime) -> bool:
        """Whether it is known to refuse messages of `size` octets."""
        limited = self.limited_until is not None and now < self.limited_until
        return limited and self.size_limit is not None and size >= self.size_limit


class EndpointHosts:
    """Access to the facts."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def of(self, domain: str) -> Mapping[str, HostState]:
        """The facts about the hosts of `domain`, by host."""
        with self._engine.connect() as connection:
            rows = connection.execute(select(endpoint_hosts).where(endpoint_hosts.c.domain == domain))
            return {row.host: _state(row) for row in rows}

    def all(self, now: datetime) -> dict[str, list[HostState]]:
        """The valid facts about all hosts, by domain."""
        found: dict[str, list[HostState]] = {}
        with self._engine.connect() as connection:
            rows = select(endpoint_hosts).order_by(endpoint_hosts.c.domain, endpoint_hosts.c.host)
            for row in connection.execute(rows):
                state = _state(row)
                if state.holds(now):
                    found.setdefault(row.domain, []).append(state)
        return found

    def proved(self, domain: str, host: str, now: datetime) -> None:
        """`host` answered as only a chatmail server does."""
        until = (now + PROVEN_FOR).timestamp()
        self._write(domain, host, proven_until=until, disproven_until=None)

    def disproved(self, domain: str, host: str, now: datetime) -> None:
        """`host` said yes where a chatmail server says no."""
        until = (now + DISPROVEN_FOR).timestamp()
        self._write(domain, host, proven_until=None, disproven_until=until)

    def doubted(self, domain: str, host: str) -> None:
        """`host` gave an answer that no chatmail server gives: it has to prove itself again."""
        self._write(domain, host, proven_until=None)

    def limited(self, domain: str, host: str, size: int, now: datetime) -> None:
        """`host` refused a message of `size` octets as too large."""
        before = self.of(domain).get(host)
        if before is not None and before.size_limit is not None and before.limits(before.size_limit, now):
            size = min(size, before.size_limit)
        self._write(domain, host, size_limit=size, limited_until=(now + LIMITED_FOR).timestamp())

    def _write(self, domain: str, host: str, **columns: float | None) -> None:
        with self._engine.begin() as connection:
            upsert(connection, endpoint_hosts, {"domain": domain, "host": host, **columns})


def forget(connection: Connection, domain: str | None) -> set[str]:
    """Deletes the facts about hosts of `domain`, or of all domains for None. Returns the domains found."""
    statement = delete(endpoint_hosts).returning(endpoint_hosts.c.domain)
    if domain is not None:
        statement = statement.where(endpoint_hosts.c.domain == domain)
    return set(connection.execute(statement).scalars())


def forget_old(connection: Connection, now: datetime, most: int) -> int:
    """Deletes expired rows, and of more than `most` rows those that expire first; returns their number."""
    columns = endpoint_hosts.c
    until = case(
        (columns.proven_until.is_not(None), columns.proven_until),
        (columns.limited_until.is_not(None), columns.limited_until),
        else_=func.coalesce(columns.disproven_until, 0.0),
    )
    old = columns.proven_until, columns.disproven_until, columns.limited_until
    over = and_(*(func.coalesce(column, 0.0) <= now.timestamp() for column in old))
    forgotten = connection.execute(delete(endpoint_hosts).where(over)).rowcount
    beyond = connection.execute(
        select(until).order_by(until.desc()).offset(most).limit(1)
    ).scalar_one_or_none()
    if beyond is not None:
        forgotten += connection.execute(delete(endpoint_hosts).where(until <= beyond)).rowcount
    return forgotten


def _state(row: Row[Any]) -> HostState:
    return HostState(
        row.host,
        time_of(row.proven_until),
        time_of(row.disproven_until),
        row.size_limit,
        time_of(row.limited_until),
    )


def time_of(posix: float | None) -> datetime | None:
    """A POSIX time of a column that may be empty."""
    return None if posix is None else datetime.fromtimestamp(posix, UTC)
