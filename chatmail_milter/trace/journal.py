"""Reads the journal's lines about messages, with journalctl(1), if the programs' own users logged them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType

from chatmail_milter.journal_line import decoded, user_ids
from chatmail_milter.trace.steps import TracedLine

# By the beginning of the syslog identifier; programs of Postfix and Dovecot begin as root.
USERS: Mapping[str, Sequence[str]] = MappingProxyType(
    {
        "postfix/": ("postfix", "root"),
        "opendkim": ("opendkim",),
        "chatmail-milter": ("chatmail-milter",),
        "mxdeliv-relay": ("chatmail-relay",),
        "gunicorn": ("chatmail-web",),
    }
)
_FIELDS = "MESSAGE,SYSLOG_IDENTIFIER,_UID,_SOURCE_REALTIME_TIMESTAMP"


class JournalError(Exception):
    """The journal can't be read; the text begins with what to do."""


def read(since: datetime | None = None) -> Iterator[TracedLine]:
    """The entries of these programs, oldest first, from `since` on. Raises `JournalError`."""
    journalctl = shutil.which("journalctl")
    if journalctl is None:
        raise JournalError("run this on the relay itself: there is no journalctl here")
    allowed = _allowed()
    command = [journalctl, "--quiet", "--no-pager", "--output=json", f"--output-fields={_FIELDS}"]
    if since is not None:
        command.append(f"--since=@{since.timestamp():.6f}")
    command += sorted({f"_UID={user}" for users in allowed.values() for user in users})
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:  # noqa: S603
        if child.stdout is None or child.stderr is None:
            raise RuntimeError("journalctl has no output")
        for line in child.stdout:
            entry = parse(line, allowed)
            if entry is not None:
                yield entry
        said = child.stderr.read().decode(errors="replace").strip()
    if child.returncode:
        raise JournalError(f"run this as root: journalctl says: {said}")


def parse(line: bytes, allowed: Mapping[str, frozenset[str]]) -> TracedLine | None:
    """The entry in a line of `journalctl --output=json`; None where another program or user logged it."""
    found = decoded(line)
    if found is None:
        return None
    beginning = next((name for name in allowed if found.program.startswith(name)), None)
    if beginning is None or found.user not in allowed[beginning]:
        return None
    return TracedLine(found.sent, found.program, found.message)


def _allowed() -> dict[str, frozenset[str]]:
    """The IDs of the users of this host."""
    ids = user_ids(name for names in USERS.values() for name in names)
    return {
        beginning: frozenset(ids[name] for name in names if name in ids) for beginning, names in USERS.items()
    }
