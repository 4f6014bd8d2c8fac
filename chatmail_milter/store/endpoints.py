"""The endpoint cache: the host of a domain that accepted mail over HTTPS last, and domains without HTTPS.

Shared by all workers. If HTTPS fails for a domain, the domain is marked, and its mail goes by SMTP at once
until the mark expires: after one minute at first, doubling up to thirty minutes. A success removes the mark.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Engine, Row, delete, func, select, update

from chatmail_milter.store import endpoint_hosts
from chatmail_milter.store.revision import wait_for_caches_to_expire
from chatmail_milter.store.tables import endpoints
from chatmail_milter.store.upsert import upsert

# Rows of domains without mail for this long are deleted.
FORGOTTEN_AFTER = timedelta(days=90)
# Most rows, of which the most recently used are kept: anybody can create any number of domains.
MOST = 20_000
FIRST_MARK = timedelta(minutes=1)
LONGEST_MARK = timedelta(minutes=30)
# A success is written again only after this long, so that a busy peer does not cost one write per message.
_REFRESH = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The state of HTTPS for a domain. `failures`: their number since the last success."""

    domain: str
    host: str | None
    worked: datetime | None
    failures: int
    no_https_until: datetime | None
    reason: str | None

    def marked(self, now: datetime) -> bool:
        """Whether the domain is marked at `now`: HTTPS is not tried."""
        return self.no_https_until is not None and now < self.no_https_until


class Endpoints:
    """Access to the endpoint cache."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def get(self, domain: str) -> Endpoint | None:
        """The row of `domain`; None if there is none."""
        with self._engine.connect() as connection:
            row = connection.execute(select(endpoints).where(endpoints.c.domain == domain)).one_or_none()
        return None if row is None else _endpoint(row)

    def list(self) -> list[Endpoint]:
        """All rows, by domain."""
        with self._engine.connect() as connection:
            return [_endpoint(row) for row in connection.execute(select(endpoints).order_by("domain"))]

    def worked(self, domain: str, host: str, now: datetime, known: Endpoint | None) -> bool:
        """Records that `host` accepted mail for `domain`. `known`: from `get`. True if it wrote a row."""
        if not is_news(host, now, known):
            return False
        values = {"domain": domain, "host": host, "worked": now.timestamp(), "failures": 0}
        with self._engine.begin() as connection:
            upsert(connection, endpoints, {**values, "no_https_until": None, "reason": None})
        return True

    def failed(self, domain: str, reason: str, now: datetime, known: Endpoint | None) -> None:
        """Records that HTTPS failed at all hosts of `domain`, and marks it. `known`: from `get`."""
        failures = (known.failures if known else 0) + 1
        mark = min(FIRST_MARK * 2 ** min(failures - 1, 10), LONGEST_MARK)
        until = (now + mark).timestamp()
        values = {"domain": domain, "failures": failures, "no_https_until": until, "reason": reason}
        with self._engine.begin() as connection:
            upsert(connection, endpoints, values)

    def unmark(self, domain: str) -> None:
        """Removes the mark of `domain`, because SMTP fails too. Keeps the number of failures."""
        with self._engine.begin() as connection:
            connection.execute(
                update(endpoints).where(endpoints.c.domain == domain).values(no_https_until=None)
            )

    def forget(self, domain: str | None) -> int:
        """Deletes `domain` and its hosts, or all for None. Returns how many domains there were."""
        statement = delete(endpoints)
        if domain is not None:
            statement = statement.where(endpoints.c.domain == domain)
        with self._engine.begin() as connection:
            hosts = endpoint_hosts.forget(connection, domain)
            known = connection.execute(statement.returning(endpoints.c.domain)).scalars()
            number = len(hosts | set(known))
        wait_for_caches_to_expire()
        return number

    def forget_old(self, now: datetime, most: int = MOST) -> int:
        """Deletes rows older than `FORGOTTEN_AFTER`, expired facts about hosts, and rows beyond `most`."""
        heard = func.coalesce(endpoints.c.no_https_until, endpoints.c.worked, 0.0)
        with self._engine.begin() as connection:
            beyond = connection.execute(select(heard).order_by(heard.desc()).offset(most).limit(1))
            since = max((now - FORGOTTEN_AFTER).timestamp(), beyond.scalar_one_or_none() or 0.0)
            forgotten = connection.execute(delete(endpoints).where(heard <= since)).rowcount
            return forgotten + endpoint_hosts.forget_old(connection, now, most)


def is_news(host: str, now: datetime, known: Endpoint | None) -> bool:
    """Whether a success of `host` needs to be written, given the present row `known`."""
    return (
        known is None
        or known.host != host
        or known.failures > 0
        or known.worked is None
        or now - known.worked >= _REFRESH
    )


def _endpoint(row: Row[Any]) -> Endpoint:
    until = endpoint_hosts.time_of(row.no_https_until)
    return Endpoint(row.domain, row.host, endpoint_hosts.time_of(row.worked), row.failures, until, row.reason)
