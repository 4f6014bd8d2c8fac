"""The journal of a host: what its services say they did, with microseconds.

All hosts of the lab share one clock (one kernel), so times of different hosts, and of the clients, compare.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from tests.lab.host import LabHost


@dataclass(frozen=True)
class LoggedEntry:
    """One line: `at` in seconds since the epoch, `who` the syslog identifier, `text` the message."""

    at: float
    who: str
    text: str


# Those that have to do with mail.
_UNITS = ("postfix*", "dovecot", "opendkim", "nginx", "chatmail-*", "mxdeliv-*")

_FIELDS = "SYSLOG_IDENTIFIER,MESSAGE,_SOURCE_REALTIME_TIMESTAMP"


def read(host: LabHost, since: float) -> list[LoggedEntry]:
    """What was logged on the host from `since` until now, oldest first."""
    host.sync_journal()
    command = f"journalctl --quiet --no-pager -o json --output-fields={_FIELDS} --since=@{since:.6f}"
    # journalctl goes by when journald took an entry, which may be late for what was said before.
    return [entry for entry in parse(host.run(command).stdout.splitlines()) if entry.at >= since]


def parse(lines: Iterable[str]) -> list[LoggedEntry]:
    """Entries from `journalctl -o json`; without those that aren't text (journald gives lists then)."""
    entries = []
    for line in lines:
        fields = json.loads(line)
        text = fields.get("MESSAGE")
        if isinstance(text, str):
            # When the sender said so, not when journald got round to it.
            stamp = fields.get("_SOURCE_REALTIME_TIMESTAMP") or fields["__REALTIME_TIMESTAMP"]
            entries.append(LoggedEntry(int(stamp) / 1e6, fields.get("SYSLOG_IDENTIFIER", ""), text))
    return sorted(entries, key=lambda entry: entry.at)


def tail(host: LabHost, since: float, lines: int = 60) -> str:
    """The end of what the mail services said, as one reads it, for reports of failures."""
    units = " ".join(f"-u '{unit}'" for unit in _UNITS)
    command = f"journalctl --quiet --no-pager -o short-precise --since=@{since:.6f} {units} | tail -n {lines}"
    return host.run(f"journalctl --sync; {command}", check=False).stdout
