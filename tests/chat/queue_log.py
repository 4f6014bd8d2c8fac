"""Postfix's log lines, by queue file: who brought a message, when it was queued, and each delivery's times.

Understands the lines of smtpd(8), cleanup(8), qmgr(8) and the delivery agents that postconf(5)
`delay_logging_resolution_limit` describes; everything else in a journal is skipped.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.chat.journal import LoggedEntry

_QUEUE_ID = re.compile(r"([0-9A-F]{6,}|[0-9B-DF-HJ-NP-TV-Zb-df-hj-np-tv-z]{10,}): (.*)", re.DOTALL)
_MESSAGE_ID = re.compile(r"message-id=<?([^>]*)>?")
_DELIVERY = re.compile(
    r"to=<(?P<to>[^>]*)>,.* relay=(?P<relay>.*?),.* delays=(?P<delays>[\d./e+-]+), "
    r"dsn=(?P<dsn>[\d.]+), status=(?P<status>\w+)(?: \((?P<text>.*)\))?",
    re.DOTALL,
)


@dataclass(frozen=True)
class LoggedDelivery:
    """One attempt. `started`: connected, the message is handed over; `ended`: it was logged."""

    agent: str
    recipient: str
    relay: str
    status: str
    dsn: str
    text: str
    started: float
    ended: float


@dataclass
class QueueFile:
    """A message in one Postfix queue. Times are 0 where the journal has no such line."""

    id: str
    service: str = ""
    message_id: str = ""
    came: float = 0.0
    queued: float = 0.0
    removed: float = 0.0
    deliveries: list[LoggedDelivery] = field(default_factory=list)


def queue_files(entries: Sequence[LoggedEntry]) -> list[QueueFile]:
    """Every queue file that the entries tell of, in order of appearance."""
    files: dict[str, QueueFile] = {}
    for entry in entries:
        match = _QUEUE_ID.match(entry.text)
        if match is None or not entry.who.startswith("postfix"):
            continue
        file = files.setdefault(match[1], QueueFile(match[1]))
        _note(file, entry, match[2])
    return list(files.values())


def _note(file: QueueFile, entry: LoggedEntry, text: str) -> None:
    agent = entry.who.removeprefix("postfix/")
    if text.startswith("client="):
        # Port 25 logs as plain postfix/smtpd, the others under a syslog_name of their own.
        file.service = "smtp" if agent == "smtpd" else agent.removesuffix("/smtpd")
        file.came = entry.at
    elif found := _MESSAGE_ID.match(text):
        file.message_id = found[1]
    elif text.startswith("from=<") and "queue active" in text:
        # Only the first time: a retry makes it active again.
        file.queued = file.queued or entry.at
    elif text == "removed":
        file.removed = entry.at
    elif found := _DELIVERY.match(text):
        # delays=a/b/c/d: before the queue manager, in the queue, connecting, handing over; two digits each.
        _, waiting, connecting, handing = map(float, found["delays"].split("/"))
        first = file.queued and not file.deliveries
        started = file.queued + waiting + connecting if first else entry.at - handing
        file.deliveries.append(
            LoggedDelivery(
                agent, found["to"], found["relay"], found["status"], found["dsn"], found["text"] or "",
                started, entry.at,
            )
        )  # fmt: skip


def of_message(files: Sequence[QueueFile], message_id: str, service: str) -> QueueFile | None:
    """The first queue file of a message that came in by this service (`submission`, `mxdeliv`, `smtp`)."""
    for file in files:
        if file.message_id == message_id and file.service == service:
            return file
    return None
