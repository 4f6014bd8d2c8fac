"""Which host of a domain took HTTPS last, and which domains have none for now. Shared by all workers.

A domain whose HTTPS failed is marked: its mail goes to SMTP without waiting until the mark runs out, after
one minute at first, doubling to thirty. Whatever is learnt from a success takes the mark away.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Engine, Row, delete, func, select, update

from chatmail_milter.store import endpoint_hosts, lease
from chatmail_milter.store.tables import endpoints
from chatmail_milter.store.upsert import upsert

# Of a domain that was not written to for so long, nothing is known any more.
FORGOTTEN_AFTER = timedelta(days=90)
# Strangers choose names, and can have any number: of more than this, those heard of last are kept.
MOST = 20_000
FIRST_MARK = timedelta(minutes=1)
LONGEST_MARK = timedelta(minutes=30)
# A success is written again only after this long: a busy peer need not cost a write a message.
_REFRESH = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What is known of HTTPS at a domain. `failures` counts those since the last success."""

    domain: str
    host: str | None
    worked: datetime | None
    failures: int
    no_https_until: datetime | None
    reason: str | None

    def marked(self, now: datetime) -> bool:
        """Whether HTTPS need not be tried at `now`."""
        return self.no_https_until is not None and now < self.no_https_until


class Endpoints:
    """The endpoint cache, in the store."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def get(self, domain: str) -> Endpoint | None:
        """What is known of `domain`, if anything."""
        with self._engine.connect() as connection:
            row = connection.execute(select(endpoints).where(endpoints.c.domain == domain)).one_or_none()
        return None if row is None else _endpoint(row)

    def list(self) -> list[Endpoint]:
        """All that is known, by domain."""
        with self._engine.connect() as connection:
            return [_endpoint(row) for row in connection.execute(select(endpoints).order_by("domain"))]

    def worked(self, domain: str, host: str, now: datetime, known: Endpoint | None) -> bool:
        """`host` took HTTPS for `domain`; `known` is what `get` said before. True if that was written."""
        if not is_news(host, now, known):
            return False
        values = {"domain": domain, "host": host, "worked": now.timestamp(), "failures": 0}
        with self._engine.begin() as connection:
            upsert(connection, endpoints, {**values, "no_https_until": None, "reason": None})
        return True

    def failed(self, domain: str, reason: str, now: datetime, known: Endpoint | None) -> None:
        """No host of `domain` took HTTPS; `known` is what `get` said before."""
        failures = (known.failures if known else 0) + 1
        mark = min(FIRST_MARK * 2 ** min(failures - 1, 10), LONGEST_MARK)
        until = (now + mark).timestamp()
        values = {"domain": domain, "failures": failures, "no_https_until": until, "reason": reason}
        with self._engine.begin() as connection:
            upsert(connection, endpoints, values)

    def unmark(self, domain: str) -> None:
        """Try HTTPS at `domain` again: SMTP could not reach it either. Its count of failures stays."""
        with self._engine.begin() as connection:
            connection.execute(
                update(endpoints).where(endpoints.c.domain == domain).values(no_https_until=None)
            )

    def forget(self, domain: str | None) -> int:
        """Forget `domain` and its hosts, or all of them for None; how many domains were known."""
        statement = delete(endpoints)
        if domain is not None:
            statement = statement.where(endpoints.c.domain == domain)
        with self._engine.begin() as connection:
            hosts = endpoint_hosts.forget(connection, domain)
            known = connection.execute(statement.returning(endpoints.c.domain)).scalars()
            number = len(hosts | set(known))
        lease.wait_for_caches_to_expire()
        return number

    def forget_old(self, now: datetime, most: int = MOST) -> int:
        """Forget domains of `FORGOTTEN_AFTER`, facts of hosts that ran out, and what is beyond `most`."""
        heard = func.coalesce(endpoints.c.no_https_until, endpoints.c.worked, 0.0)
        with self._engine.begin() as connection:
            beyond = connection.execute(select(heard).order_by(heard.desc()).offset(most).limit(1))
            since = max((now - FORGOTTEN_AFTER).timestamp(), beyond.scalar_one_or_none() or 0.0)
            forgotten = connection.execute(delete(endpoints).where(heard <= since)).rowcount
            return forgotten + endpoint_hosts.forget_old(connection, now, most)


def is_news(host: str, now: datetime, known: Endpoint | None) -> bool:
    """Whether it is worth writing that `host` took HTTPS, where `known` is what the store says."""
    return (
        known is None
        or known.host != host
        or known.failures > 0
        or known.worked is None
        or now - known.worked >= _REFRESH
    )


def _endpoint(row: Row[Any]) -> Endpoint:
    until = _time(row.no_https_until)
    return Endpoint(row.domain, row.host, _time(row.worked), row.failures, until, row.reason)


def _time(posix: float | None) -> datetime | None:
    return None if posix is None else datetime.fromtimestamp(posix, UTC)
