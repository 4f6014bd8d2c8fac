"""Checks that the programs can use the store. Neither creates nor migrates it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sqlalchemy.exc import SQLAlchemyError

from chatmail_milter.doctor import Finding, FindingState, good
from chatmail_milter.store import fault
from chatmail_milter.store.schema import examine

SUBJECT = "store"


def check(url: str, examine: Callable[[str], str] = examine) -> Iterator[Finding]:
    """Checks the store at `url`."""
    try:
        yield good(SUBJECT, "store", examine(url))
    except SQLAlchemyError as error:
        advice = fault.explained(error).advice
        why = "nobody can log in, and no mail is accepted"
        yield Finding(SUBJECT, "store", FindingState.BAD, "can't be used", why, advice)
