"""One trial: messages flow, a cause strikes and goes, the queues empty, and every message is looked for."""

from __future__ import annotations

import secrets
import subprocess
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from time import monotonic, time
from typing import Any

from tests.chat import journal, relay
from tests.chat.deadline import LateError, until
from tests.chat.journal import LoggedEntry
from tests.faults import census, cuts
from tests.faults.arrangement import Arrangement
from tests.faults.census import Census
from tests.faults.flow import Fate, MessageFlow
from tests.faults.mail import messages
from tests.lab.errors import LabError
from tests.lab.host import LabHost

MESSAGES = 500
# To submit all of them, whatever happens meanwhile; and for the queues to empty once the cause is gone.
SUBMIT_SECONDS, DRAIN_SECONDS = 300.0, 300.0


@dataclass
class FaultScene:
    """What a cause is given: the relays, and the messages under way.

    It puts into `waiting` how many messages were in the queues when it was about to go, into `agents` how
    many delivery agents died with all of Postfix, and into `saved` what a journal said that goes with a host.
    """

    arrangement: Arrangement
    flow: MessageFlow
    began: float
    waiting: int = 0
    agents: int = 0
    saved: list[LoggedEntry] = field(default_factory=list)

    @property
    def a(self) -> LabHost:
        return self.arrangement.hosts[0]

    @property
    def b(self) -> LabHost:
        return self.arrangement.hosts[1]

    def count_waiting(self) -> None:
        self.waiting = max(self.waiting, sum(census.queue_lengths(self.arrangement.hosts)))


@dataclass(frozen=True)
class FaultCause:
    """`strike` returns when the cause is gone again. `around`, if any, is a context for the whole trial."""

    name: str
    strike: Callable[[FaultScene], None]
    around: Callable[[Arrangement], AbstractContextManager[None]] | None = None


@dataclass(frozen=True)
class FaultRow:
    """What became of the messages. `emptied`: seconds from the cause's end to empty queues, None: never."""

    name: str
    sent: int
    unknown: int
    delivered: int
    bounced: int
    waiting: int
    duplicates: int
    bound: dict[str, int]
    emptied: float | None
    seconds: float
    breaches: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        return {**self.__dict__, "breaches": list(self.breaches), "ok": not self.breaches}


def hold(cause: FaultCause, arrangement: Arrangement, count: int = MESSAGES) -> FaultRow:
    """Make the trial."""
    if cause.around is None:
        return _hold(cause, arrangement, count)
    with cause.around(arrangement):
        return _hold(cause, arrangement, count)


def _hold(cause: FaultCause, arrangement: Arrangement, count: int) -> FaultRow:
    tag, began, started = f"f{secrets.token_hex(5)}", time(), monotonic()
    post = messages(tag, count, arrangement.writers, arrangement.readers)
    ips = {host.name: host.ip for host in arrangement.hosts}
    with MessageFlow(post, arrangement.logins, ips, SUBMIT_SECONDS) as flow:
        scene = FaultScene(arrangement, flow, began)
        failure = _strike(cause, scene)
        gone = monotonic()
    emptied: float | None = None
    try:
        until("the queues are empty", lambda: _empty(arrangement), DRAIN_SECONDS)
        emptied = monotonic() - gone
    except LateError:
        pass  # the row says so
    entries = list(scene.saved)
    for host in arrangement.hosts:
        relay.forget_endpoints(host)
        entries += journal.read(host, began)
    found = census.take(arrangement.hosts, tag)
    bound = cuts.cut_off(entries, scene.agents)
    fates = Counter(flow.fates.values())
    return FaultRow(
        cause.name,
        sent=fates[Fate.TAKEN],
        unknown=fates[Fate.CUT],
        delivered=len(found.delivered),
        bounced=len(found.bounced),
        waiting=scene.waiting,
        duplicates=found.duplicates,
        bound=dict(bound),
        emptied=emptied,
        seconds=monotonic() - started,
        breaches=(*failure, *_breaches(flow, found, entries, bound.total(), emptied)),
    )


def _empty(arrangement: Arrangement) -> bool:
    # Twice: between looking at one and at the other, a message may go over to where nobody looks any more.
    return not any(any(census.queue_lengths(arrangement.hosts)) for _ in range(2))


def _strike(cause: FaultCause, scene: FaultScene) -> list[str]:
    """Whether the cause could be made at all. What became of the messages is looked at in any case."""
    try:
        cause.strike(scene)
    except (AssertionError, LabError, OSError, subprocess.SubprocessError) as error:
        return [f"the trial itself: {type(error).__name__}: {error}"]
    return []


def _breaches(
    flow: MessageFlow, found: Census, entries: Sequence[LoggedEntry], bound: int, emptied: float | None
) -> list[str]:
    """Each promise that was not kept, in words."""
    fates = flow.fates
    lost = [mid for mid, fate in fates.items() if fate is Fate.TAKEN and found.places(mid) == 0]
    torn = [mid for mid in fates if found.places(mid) > 1]
    never = [mid for mid, fate in fates.items() if fate is Fate.REFUSED and found.places(mid)]
    waiting = sum(fate is Fate.WAITING for fate in fates.values())
    twice = cuts.delivered_twice(entries)
    sayings = {
        f"{len(lost)} lost: {' '.join(lost[:3])}": lost,
        f"{len(torn)} in more than one place: {' '.join(torn[:3])}": torn,
        f"{len(never)} refused and yet there": never,
        f"{len(flow.refusals)} refused: {'; '.join(sorted(set(flow.refusals))[:3])}": flow.refusals,
        f"{waiting} could not be submitted": waiting,
        f"{found.duplicates} duplicates, though only {bound} answers were cut off": found.duplicates > bound,
        f"{twice} delivered again after the answer was heard": twice,
        f"{found.queued.total()} still queued": emptied is None,
    }
    return [words for words, broken in sayings.items() if broken]
