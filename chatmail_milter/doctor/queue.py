"""Checks Postfix's queue: number and age of messages. Pure: the queue is an argument."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol

from chatmail_milter import address
from chatmail_milter.address import MalformedAddressError
from chatmail_milter.doctor import Finding, FindingState, good, unknown

SUBJECT = "queue"
# Users have noticed by then. After two days Postfix gives up (maximal_queue_lifetime).
SOON_AFTER, BAD_AFTER = timedelta(hours=1), timedelta(hours=24)
HELD = "hold"


class QueuedItem(Protocol):
    """A message in the queue."""

    @property
    def queue(self) -> str: ...

    @property
    def arrived(self) -> datetime: ...

    @property
    def domains(self) -> tuple[str, ...]: ...


def check(messages: Sequence[QueuedItem] | None, now: datetime | None = None) -> Iterator[Finding]:
    """Checks the queue; `None` means that there is no Postfix."""
    if messages is None:
        yield unknown(SUBJECT, "all", "there is no Postfix here")
        return
    now = now or datetime.now(UTC)
    held = sum(one.queue == HELD for one in messages)
    if held:
        yield Finding(
            SUBJECT,
            "held",
            FindingState.SOON,
            f"{held} messages are held",
            "held messages wait until you release them",
            "postsuper -H ALL",
        )
    waiting = [one for one in messages if one.queue != HELD]
    if not waiting:
        yield good(SUBJECT, "all", "is empty")
        return
    age = now - min(one.arrived for one in waiting)
    old = [one for one in waiting if now - one.arrived >= SOON_AFTER]
    found = f"{len(waiting)} messages, the oldest for {_hours(age)}"
    if not old:
        yield good(SUBJECT, "all", found)
        return
    domains = Counter(domain for one in old for domain in one.domains)
    state = FindingState.BAD if age >= BAD_AFTER else FindingState.SOON
    worst = ", ".join(f"{domain} ({number})" for domain, number in domains.most_common(3))
    mend = _advice(domains.most_common(1)[0][0] if domains else "")
    yield Finding(
        SUBJECT,
        "all",
        state,
        f"{found}; most for {worst}",
        "users wait, and get a bounce after two days",
        mend,
    )


def _advice(domain: str) -> str:
    # Postfix keeps recipients as their senders wrote them: not all of it is a word for a shell.
    try:
        return f"chatmailctl probe '{address.domain(domain)}'"
    except MalformedAddressError:
        return "chatmailctl queue"


def _hours(age: timedelta) -> str:
    minutes = int(age.total_seconds() // 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
