"""Runs `doveadm`: lists and removes mail, keeping indexes consistent and clients notified; ends sessions.

Must run as the user that owns the mail, or as root. Users are passed to doveadm in a file, because there may
be many and Dovecot can't list them. Output is parsed as a stream. doveadm(1), doveadm-search-query(7)
"""

from __future__ import annotations

import csv
import ipaddress
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from chatmail_milter.address import Peer
from chatmail_milter.rules import full_mailbox
from chatmail_milter.store.sanitize import anonymous

PROGRAM = "/usr/bin/doveadm"
# Master socket of the auth process that caches user lookups for deliveries (dovecot.conf).
DELIVERIES = Path("/run/dovecot/deliveries-master")
# Only Dovecot's own users may write to the stats socket. Without this option doveadm complains on stderr.
_ALWAYS = ("-o", "stats_writer_socket_path=")
# A command-line argument may have 128 KiB.
_UIDS_AT_ONCE = 5000
_MOST_WORDS = 1000  # characters
_SESSION_COMMAND = 5.0  # seconds for a command about sessions
# doveadm's exit status if a mailbox does not exist and there was no worse error. Either it was deleted since
# it was listed, or it is a deleted parent of existing folders, which Dovecot 2.3 still lists.
_NOT_FOUND = 68

# The fields in a message's index entry, then those for which doveadm may have to read the message.
_MESSAGE_FIELDS = "user mailbox-guid uid flags size.virtual date.received.unixtime"
_HEAD = 4  # number of fields from the index
_WHOLE = 7  # number of fields with the sender
_GUID, _UID, _NUMBER = (re.compile(one) for one in ("[0-9a-f]{32}", "[0-9]{1,10}", "[0-9]{1,19}"))
# doveadm's exit status for a temporary failure, also if it could not read one message; sysexits(3)
_SOME_FAILED = 75
# With JSON, doveadm 2.4.1 prints the same then, but aborts at the end instead of closing the JSON.
_ABORTED = -signal.SIGABRT


class DoveadmError(Exception):
    """doveadm failed. The results before the error were yielded. The message contains no addresses.

    `status`: doveadm's exit status; None if that was 0 but its output was malformed.
    """

    def __init__(self, words: str, status: int | None = None) -> None:
        super().__init__(words)
        self.status = status


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message in a mailbox.

    `mailbox`: the folder's GUID. `octets`: as the quota counts them. `received`: POSIX time. `sender`: as
    `full_mailbox.sender` returns it; only `Doveadm.everything` sets it, if the header could be read.
    """

    user: str
    mailbox: str
    uid: int
    octets: int
    received: int
    seen: bool = False
    sender: str = ""


@dataclass(frozen=True, slots=True)
class MailboxContents:
    """A user's messages whose size and time are known. `unreadable`: how many messages doveadm can't open."""

    messages: Sequence[StoredMessage]
    unreadable: int = 0


@dataclass(frozen=True, slots=True)
class Usage:
    """Quota usage and limit of a user, in octets, multiples of 1 KiB."""

    user: str
    used: int
    limit: int


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder. `messages`: their number. `made`: when it was created, POSIX time (its UIDVALIDITY)."""

    name: str
    messages: int
    made: int


class Doveadm:
    """Runs doveadm: `program`, else `$CHATMAIL_DOVEADM`, else `PROGRAM`.

    All methods raise `DoveadmError`, and `OSError` if the program can't be started.
    """

    def __init__(self, program: str | None = None) -> None:
        self._program = program or os.environ.get("CHATMAIL_DOVEADM", PROGRAM)

    @property
    def installed(self) -> bool:
        return shutil.which(self._program) is not None

    def messages(self, users: Sequence[str], query: Sequence[str]) -> Iterator[StoredMessage]:
        """The messages of `users`, in all folders, that match `query` (doveadm-search-query(7))."""
        with _listed(users) as file:
            lines = self._lines("tab", "fetch", "-F", file, _MESSAGE_FIELDS, "mailbox", "*", *query)
            next(lines, "")
            # doveadm adds a column with the user before each line; the query's own user field is used
            # instead.
            values = (value for line in lines for value in line.rstrip("\n").split("\t")[1:])
            yield from _messages(_records(values))

    def everything(self, user: str) -> MailboxContents:
        """All messages of `user`, in all folders, with senders."""
        wanted = f"{_MESSAGE_FIELDS} hdr.from"
        failed: DoveadmError | None = None
        printed = ""
        try:
            # JSON, because in a table a header field could contain column and row separators.
            for line in self._lines("json", "fetch", "-u", user, wanted, "mailbox", "*", "ALL"):
                printed += line
        except DoveadmError as error:
            failed = error
        # If a value is missing, the last row is incomplete, and doveadm closes neither it nor (2.4) the JSON.
        if printed.endswith(('"', '"]')):
            printed = f"{printed.removesuffix(']')}}}]"
        try:
            # Not strict: Dovecot does not escape control characters in header fields.
            rows = json.loads(printed or "[]", strict=False)
        except ValueError:
            raise failed or DoveadmError("doveadm fetch: its JSON is malformed") from None
        records = list(_records(value for row in rows for value in row.values()))
        found = list(_messages(records))
        if failed is not None and (failed.status not in (_SOME_FAILED, _NOT_FOUND, _ABORTED) or not found):
            raise failed
        return MailboxContents(found, sum(len(one) < _WHOLE for one in records))

    def usage(self, users: Sequence[str]) -> Iterator[Usage]:
        """Quota usage of those `users` that have a limit."""
        with _listed(users) as file:
            for row in self._rows("quota", "get", "-F", file):
                if row["Type"] == "STORAGE" and row["Limit"].isdecimal():
                    yield Usage(row["Username"], int(row["Value"]) << 10, int(row["Limit"]) << 10)

    def folders(self, users: Sequence[str]) -> Iterator[tuple[str, Folder]]:
        """The existing folders of `users`, as (user, folder)."""
        for row in self._folder_rows(users, "messages uidvalidity"):
            yield (
                row["username"],
                Folder(row["mailbox"], int(row["messages"]), int(row["uidvalidity"])),
            )

    def expunge(self, messages: Sequence[StoredMessage]) -> None:
        """Removes messages."""
        wanted: dict[tuple[str, str], list[int]] = {}
        for one in messages:
            wanted.setdefault((one.user, one.mailbox), []).append(one.uid)
        for (user, mailbox), uids in wanted.items():
            for start in range(0, len(uids), _UIDS_AT_ONCE):
                some = ",".join(map(str, uids[start : start + _UIDS_AT_ONCE]))
                self._do("expunge", "-u", user, "mailbox-guid", mailbox, "uid", some)

    def delete_if_empty(self, user: str, folder: str) -> None:
        """Removes a folder and the subscription to it, unless it has a message."""
        self._do("mailbox", "delete", "-e", "-s", "-u", user, "--", folder)

    def forget_accounts(self) -> None:
        """Empties the cache of user lookups for deliveries, after an account was deleted or its quota set.

        Does nothing if Dovecot is not running.
        """
        if DELIVERIES.exists():
            self._do("auth", "cache", "flush", "-a", str(DELIVERIES))

    def back_up(self, user: str, maildir: Path) -> None:
        """Make `maildir`, a directory of the mailboxes' user, what the mail of `user` is, UIDs and all.

        What it has already is not copied again. doveadm-sync(1)
        """
        self._do("backup", "-u", user, f"maildir:{maildir}")

    def leave_out_uids(self, users: Sequence[str], number: int) -> None:
        """Leave out at least `number` UIDs, and as many modification sequences, in each folder of `users`.

        For mailboxes that are older than what clients have seen of them, before new mail comes in: no UID is
        used twice (RFC 3501, 2.3.1.1), and no modification sequence (RFC 7162, 3.1.1). doveadm-mailbox(1)
        """
        if not users:
            return
        holders: dict[str, list[str]] = {}
        uid = sequence = 0
        for row in self._folder_rows(users, "uidnext highestmodseq"):
            holders.setdefault(row["mailbox"], []).append(row["username"])
            uid = max(uid, int(row["uidnext"]))
            sequence = max(sequence, int(row["highestmodseq"]))
        least = ("--min-next-uid", str(uid + number), "--min-highest-modseq", str(sequence + number))
        errors = []
        for name, some in holders.items():
            try:
                with _listed(some) as file:
                    self._do("mailbox", "update", "-F", file, *least, "--", name)
            except DoveadmError as error:
                errors.append(error)
        if errors:
            raise errors[0]

    def connections(self) -> Iterator[tuple[str, Peer]]:
        """User and client's address of each IMAP connection.

        This, `home` and `kick` don't raise `DoveadmError` but `subprocess.TimeoutExpired`; this one
        also `ValueError` and `KeyError`, if the output is malformed.
        """
        return parse_connections(self._printed("-f", "tab", "who", "-1"))

    def clients(self) -> list[int]:
        """The process of each IMAP connection, by its ID."""
        return [int(row["pid"]) for row in self._rows("who", "-1") if _is_imap(row)]

    def statistics(self) -> dict[str, int]:
        """The number of events of each `metric` in dovecot.conf, since Dovecot started. doveadm-stats(1)"""
        rows = self._rows("stats", "dump")
        return {row["metric_name"]: int(row["count"]) for row in rows if row["field"] == "duration"}

    def home(self, user: str) -> Path:
        """The home directory of a user."""
        return Path(self._printed("user", "-f", "home", user).strip())

    def kick(self, user: str) -> None:
        """Ends processes with a session of `user`. Whether it worked, `connections` tells."""
        self._printed("kick", user)

    def _folder_rows(self, users: Sequence[str], fields: str) -> list[dict[str, str]]:
        """User, name and `fields` of each existing folder of `users`."""
        status = ("mailbox", "status", "-F")
        with _listed(users) as file:
            # JSON, because clients may put any character into a folder's name. Read as a whole: there are
            # few.
            printed = "".join(self._lines("json", *status, file, fields, "*", fine=(_NOT_FOUND,)))
        rows: list[dict[str, str]] = json.loads(printed or "[]")
        return rows

    def _printed(self, *arguments: str) -> str:
        command = (self._program, *_ALWAYS, *arguments)
        return subprocess.run(  # noqa: S603
            command, capture_output=True, text=True, check=False, timeout=_SESSION_COMMAND
        ).stdout

    def _rows(self, *arguments: str) -> Iterator[dict[str, str]]:
        """The rows of a tab-separated table, by column name. No requested value may contain a tab."""
        lines = self._lines("tab", *arguments)
        names = next(lines, "").rstrip("\n").split("\t")
        for line in lines:
            yield dict(zip(names, line.rstrip("\n").split("\t"), strict=True))

    def _do(self, *arguments: str) -> None:
        for _ in self._lines("tab", *arguments):
            pass

    def _lines(self, form: str, *arguments: str, fine: tuple[int, ...] = ()) -> Iterator[str]:
        command = (self._program, *_ALWAYS, "-f", form, *arguments)
        with tempfile.TemporaryFile("w+", errors="replace") as errors:
            with subprocess.Popen(  # noqa: S603
                command,
                stdout=subprocess.PIPE,
                stderr=errors,
                encoding="utf-8",
                errors="surrogateescape",
            ) as running:
                assert running.stdout is not None  # noqa: S101  (for mypy: a pipe was asked for)
                yield from running.stdout
            if running.returncode not in (0, *fine):
                errors.seek(0)
                words = anonymous("; ".join(errors.read(_MOST_WORDS).splitlines()))
                status = running.returncode
                raise DoveadmError(f"doveadm {arguments[0]}: exit status {status}: {words}", status)


def _is_imap(row: Mapping[str, str]) -> bool:
    """Whether a row of `who` is an IMAP client: 2.4 has other names, and tells of hibernation."""
    return (row["service"] if "service" in row else row["proto"]) in ("imap", "imap-hibernate")


def parse_connections(text: str) -> Iterator[tuple[str, Peer]]:
    """The IMAP connections in the output of `doveadm -f tab who -1`."""
    for row in csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE):
        if _is_imap(row):
            # A program on this host that is connected by a socket has no address.
            yield row["username"], ipaddress.ip_address(row["ip"]) if row["ip"] else None


def _messages(records: Iterable[list[str]]) -> Iterator[StoredMessage]:
    """Parses messages, skipping those without size or time."""
    for user, mailbox, uid, flags, *rest in records:
        numbers, senders = rest[:2], rest[2:]
        if len(numbers) == 2 and all(_NUMBER.fullmatch(one) for one in numbers):
            octets, received = map(int, numbers)
            seen = "\\Seen" in flags.split()
            yield StoredMessage(
                user, mailbox, int(uid), octets, received, seen, full_mailbox.sender("".join(senders))
            )


def _records(values: Iterable[str]) -> Iterator[list[str]]:
    """Splits doveadm's values into one list per message. On `DoveadmError`, yields the last, then raises it.

    doveadm prints nothing for a field that it can't read, if the message is corrupt or was just removed, and
    all following values are then in the wrong columns. So a message's beginning is found by its user, mailbox
    GUID and UID in a row. A sender can't forge that, because no number follows the From field.
    """
    record: list[str] = []
    failed: DoveadmError | None = None
    try:
        for value in values:
            record.append(value)
            if len(record) >= _HEAD + 3 and _GUID.fullmatch(record[-2]) and _UID.fullmatch(record[-1]):
                yield record[:-3]
                record = record[-3:]
    except DoveadmError as error:
        failed = error
    if len(record) >= _HEAD:
        yield record
    if failed is not None:
        raise failed


@contextmanager
def _listed(users: Sequence[str]) -> Iterator[str]:
    """A temporary file with one of `users` per line; yields its path."""
    with tempfile.NamedTemporaryFile("w", encoding="ascii", suffix=".users") as file:
        file.write("".join(f"{user}\n" for user in users))
        file.flush()
        yield file.name
