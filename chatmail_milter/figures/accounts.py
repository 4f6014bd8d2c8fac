"""Numbers of accounts, of those in use, and of their devices."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

from sqlalchemy import Engine, func, select

from chatmail_milter.store.tables import accounts, device_tokens, notices, suspensions

DAY, WEEK, MONTH = timedelta(days=1), timedelta(days=7), timedelta(days=30)


@dataclass(frozen=True, slots=True)
class AccountFigures:
    """Numbers of accounts. The store has days, not times, so `used_day` counts today and yesterday."""

    number: int
    used_day: int
    used_week: int
    used_month: int
    made_week: int
    suspended: int


@dataclass(frozen=True, slots=True)
class PushFigures:
    """Numbers of registered devices, and of those with a queued push notification."""

    devices: int
    pending: int


@dataclass(frozen=True, slots=True)
class Listed:
    """One account, with days of creation, last login and suspension."""

    address: str
    created: date
    last_login: date | None
    suspended: date | None


def page(engine: Engine, begins: str = "", after: str = "", most: int = 100) -> list[Listed]:
    """At most `most` accounts with a given prefix, in order of address, after a given one."""
    table = accounts.c
    wanted = select(table.address, table.created, table.last_login, suspensions.c.since)
    wanted = wanted.outerjoin(suspensions, suspensions.c.address == table.address)
    if begins:
        # A range, not LIKE: it has no wildcards, and uses the index. No address has a character above.
        wanted = wanted.where(table.address >= begins, table.address < begins + "\U0010ffff")
    wanted = wanted.where(table.address > after).order_by(table.address).limit(most)
    with engine.connect() as connection:
        return [Listed(row[0], row[1], row[2], row[3]) for row in connection.execute(wanted)]


def count(engine: Engine, today: date) -> AccountFigures:
    """Counts the accounts in the store."""
    used = [func.count().filter(accounts.c.last_login >= today - ago) for ago in (DAY, WEEK, MONTH)]
    made = func.count().filter(accounts.c.created >= today - WEEK)
    with engine.connect() as connection:
        row = connection.execute(select(func.count(), *used, made).select_from(accounts)).one()
        suspended = connection.execute(select(func.count()).select_from(suspensions)).scalar_one()
    return AccountFigures(row[0], row[1], row[2], row[3], row[4], suspended)


def push(engine: Engine) -> PushFigures:
    """Counts devices, and queued push notifications."""
    with engine.connect() as connection:
        devices = connection.execute(select(func.count()).select_from(device_tokens)).scalar_one()
        pending = connection.execute(select(func.count()).select_from(notices)).scalar_one()
    return PushFigures(devices, pending)
