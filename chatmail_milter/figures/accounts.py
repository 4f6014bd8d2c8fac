"""How many accounts there are, and how many are in use."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

from sqlalchemy import Engine, func, select

from chatmail_milter.store.tables import accounts, suspensions

DAY, WEEK, MONTH = timedelta(days=1), timedelta(days=7), timedelta(days=30)


@dataclass(frozen=True, slots=True)
class AccountFigures:
    """Numbers of accounts. The store knows days, so `used_day` is of today and yesterday."""

    number: int
    used_day: int
    used_week: int
    used_month: int
    made_week: int
    suspended: int


def count(engine: Engine, today: date) -> AccountFigures:
    """Those in the store."""
    used = [func.count().filter(accounts.c.last_login >= today - ago) for ago in (DAY, WEEK, MONTH)]
    made = func.count().filter(accounts.c.created >= today - WEEK)
    with engine.connect() as connection:
        row = connection.execute(select(func.count(), *used, made).select_from(accounts)).one()
        suspended = connection.execute(select(func.count()).select_from(suspensions)).scalar_one()
    return AccountFigures(row[0], row[1], row[2], row[3], row[4], suspended)
