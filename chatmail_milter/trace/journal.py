"""The journal's lines about messages, read with journalctl(1).

Any local user can log under any name. But journald stores the user who logged, from the kernel (`_UID`,
systemd.journal-fields(7)), and a line counts only if its user is one that the program runs as.
"""

from __future__ import annotations

import pwd
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType

import msgspec

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


class _Line(msgspec.Struct):
    received: str = msgspec.field(name="__REALTIME_TIMESTAMP", default="0")
    sent: str = msgspec.field(name="_SOURCE_REALTIME_TIMESTAMP", default="")
    message: str | list[int] | None = msgspec.field(name="MESSAGE", default=None)
    program: str = msgspec.field(name="SYSLOG_IDENTIFIER", default="")
    user: str = msgspec.field(name="_UID", default="")


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
    found = _DECODER.decode(line)
    beginning = next((name for name in allowed if found.program.startswith(name)), None)
    # Octets that are not UTF-8 come as a list of numbers.
    if beginning is None or found.user not in allowed[beginning] or not isinstance(found.message, str):
        return None
    microseconds = int(found.sent or found.received)
    return TracedLine(datetime.fromtimestamp(microseconds / 1e6, UTC), found.program, found.message)


def _allowed() -> dict[str, frozenset[str]]:
    """The IDs of the users of this host."""
    ids: dict[str, str] = {}
    for name in {one for names in USERS.values() for one in names}:
        try:
            ids[name] = str(pwd.getpwnam(name).pw_uid)
        except KeyError:
            continue
    return {
        beginning: frozenset(ids[name] for name in names if name in ids) for beginning, names in USERS.items()
    }


_DECODER = msgspec.json.Decoder(_Line)
