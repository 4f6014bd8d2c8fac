"""A line of the journal, as `journalctl --output=json` prints it (systemd.journal-fields(7)).

Any local user can log under any name. But journald stores the user who logged, from the kernel (`_UID`). So
readers use a line only if its user is one that the program runs as.
"""

from __future__ import annotations

import pwd
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import msgspec


class _Fields(msgspec.Struct):
    received: str = msgspec.field(name="__REALTIME_TIMESTAMP", default="0")
    sent: str = msgspec.field(name="_SOURCE_REALTIME_TIMESTAMP", default="")
    cursor: str = msgspec.field(name="__CURSOR", default="")
    # Octets that are not UTF-8 come as a list of numbers, and a field that was logged twice as a list.
    message: str | list[Any] | None = msgspec.field(name="MESSAGE", default=None)
    program: str | list[Any] = msgspec.field(name="SYSLOG_IDENTIFIER", default="")
    pid: str = msgspec.field(name="_PID", default="0")
    user: str = msgspec.field(name="_UID", default="")


class JournalLine(msgspec.Struct, frozen=True):
    """`program`: the name that it was logged under. `user`: the ID, empty if journald knows none.

    `received`: when journald got the line; `sent`: when the program logged it. `cursor`: journalctl's name
    for the position.
    """

    program: str
    pid: int
    user: str
    message: str
    received: datetime
    sent: datetime
    cursor: str


def decoded(line: bytes) -> JournalLine | None:
    """The line; None if its message is not text."""
    fields = _DECODER.decode(line)
    if not isinstance(fields.message, str) or not isinstance(fields.program, str):
        return None
    received = _time(fields.received)
    sent = _time(fields.sent) if fields.sent else received
    return JournalLine(
        fields.program, int(fields.pid), fields.user, fields.message, received, sent, fields.cursor
    )


def user_ids(names: Iterable[str]) -> dict[str, str]:
    """The IDs of those users that this host has, as `JournalLine.user` gives them."""
    found = {}
    for name in set(names):
        try:
            found[name] = str(pwd.getpwnam(name).pw_uid)
        except KeyError:
            continue
    return found


def _time(microseconds: str) -> datetime:
    return datetime.fromtimestamp(int(microseconds) / 1e6, UTC)


_DECODER = msgspec.json.Decoder(_Fields)
