"""What is in mailboxes, and taking it out, by `doveadm`: clients are told at once, and indexes stay right.

Runs as the user who owns the mail, or as root. Names users to doveadm in a file, since there may be many and
Dovecot can't list them. What it prints is read as it comes. doveadm(1), doveadm-search-query(7)
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from chatmail_milter.rules import full
from chatmail_milter.store.words import anonymous

PROGRAM = "/usr/bin/doveadm"
# Statistics are for Dovecot's own users; without this it says on stderr that it can't give any.
_ALWAYS = ("-o", "stats_writer_socket_path=")
# One argument may have 128 KiB.
_UIDS_AT_ONCE = 5000
_MOST_WORDS = 1000  # characters
# doveadm's exit status where a mailbox is not there (and nothing worse happened): one that went since it was
# listed, and for Dovecot 2.3 each that was deleted from above its children, which it goes on listing.
_NOT_FOUND = 68

# What a message's index entry holds, then what doveadm may have to read the message for.
_MESSAGE_FIELDS = "user mailbox-guid uid flags size.virtual date.received.unixtime"
_HEAD = 4  # of these are from the index
_GUID, _UID, _NUMBER = (re.compile(one) for one in ("[0-9a-f]{32}", "[0-9]{1,10}", "[0-9]{1,19}"))
# doveadm's exit status where something failed for now, a message that it could not read too; sysexits(3)
_SOME_FAILED = 75


class DoveadmError(Exception):
    """It ended with an error; what it printed was yielded before. The message names nobody.

    `status` is doveadm's exit status, None where it ended well and said what can't be read.
    """

    def __init__(self, words: str, status: int | None = None) -> None:
        super().__init__(words)
        self.status = status


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message: its octets as the quota counts them, and when it came, in POSIX time.

    Its `sender` (`full.sender`) is known where `Doveadm.everything` found it, and its header could be read.
    """

    user: str
    mailbox: str
    uid: int
    octets: int
    received: int
    seen: bool = False
    sender: str = ""


@dataclass(frozen=True, slots=True)
class Usage:
    """How full a mailbox is, in octets, rounded up to KiB."""

    user: str
    used: int
    limit: int


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder: how many messages it has, and when it was made (its UIDVALIDITY), in POSIX time."""

    name: str
    messages: int
    made: int


class Doveadm:
    """All of these raise `DoveadmError`, and `OSError` where there is no such program.

    That is `program`, else `$CHATMAIL_DOVEADM`, else `PROGRAM`.
    """

    def __init__(self, program: str | None = None) -> None:
        self._program = program or os.environ.get("CHATMAIL_DOVEADM", PROGRAM)

    def messages(self, users: Sequence[str], query: Sequence[str]) -> Iterator[StoredMessage]:
        """The messages of `users` that `query` finds, in all of their folders."""
        with _listed(users) as file:
            lines = self._lines("tab", "fetch", "-F", file, _MESSAGE_FIELDS, "mailbox", "*", *query)
            next(lines, "")
            # doveadm prints the user before each line by itself, of whichever message the line begins with.
            values = (value for line in lines for value in line.rstrip("\n").split("\t")[1:])
            yield from _messages(values)

    def everything(self, user: str) -> Sequence[StoredMessage]:
        """All messages of `user`, in all folders; without those whose size or time can't be read."""
        wanted = f"{_MESSAGE_FIELDS} hdr.from"
        failed: DoveadmError | None = None
        printed = ""
        try:
            # In a table a header field could end its column, or its row.
            for line in self._lines("json", "fetch", "-u", user, wanted, "mailbox", "*", "ALL"):
                printed += line
        except DoveadmError as error:
            failed = error
        # After a value that is missing the last row is not full, and doveadm doesn't close it.
        if printed.endswith('"]'):
            printed = f"{printed[:-1]}}}]"
        try:
            # A field may have control characters that Dovecot leaves as they are.
            rows = json.loads(printed or "[]", strict=False)
        except ValueError:
            raise failed or DoveadmError("doveadm fetch: its JSON is malformed") from None
        found = list(_messages(value for row in rows for value in row.values()))
        if failed is not None and (failed.status not in (_SOME_FAILED, _NOT_FOUND) or not found):
            raise failed
        return found

    def usage(self, users: Sequence[str]) -> Iterator[Usage]:
        """How full the mailboxes of `users` are; not of those without a limit."""
        with _listed(users) as file:
            for row in self._rows("quota", "get", "-F", file):
                if row["Type"] == "STORAGE" and row["Limit"].isdecimal():
                    yield Usage(row["Username"], int(row["Value"]) << 10, int(row["Limit"]) << 10)

    def folders(self, users: Sequence[str]) -> Iterator[tuple[str, Folder]]:
        """The folders of `users` that are there, each with its user."""
        status = ("mailbox", "status", "-F")
        with _listed(users) as file:
            # Names are anything that a client wanted. JSON is not read as it comes, but there are few.
            printed = "".join(
                self._lines("json", *status, file, "messages uidvalidity", "*", fine=(_NOT_FOUND,))
            )
        for row in json.loads(printed or "[]"):
            yield (
                row["username"],
                Folder(row["mailbox"], int(row["messages"]), int(row["uidvalidity"])),
            )

    def expunge(self, messages: Sequence[StoredMessage]) -> None:
        """Remove messages."""
        wanted: dict[tuple[str, str], list[int]] = {}
        for one in messages:
            wanted.setdefault((one.user, one.mailbox), []).append(one.uid)
        for (user, mailbox), uids in wanted.items():
            for start in range(0, len(uids), _UIDS_AT_ONCE):
                some = ",".join(map(str, uids[start : start + _UIDS_AT_ONCE]))
                self._do("expunge", "-u", user, "mailbox-guid", mailbox, "uid", some)

    def delete_if_empty(self, user: str, folder: str) -> None:
        """Remove a folder and the subscription to it, unless a message has come to it."""
        self._do("mailbox", "delete", "-e", "-s", "-u", user, "--", folder)

    def _rows(self, *arguments: str) -> Iterator[dict[str, str]]:
        """A table with a header. Nothing in what we ask for has a tab."""
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


def _messages(values: Iterable[str]) -> Iterator[StoredMessage]:
    """The messages in what doveadm printed, value by value; without those whose size or time is missing.

    Of a field that it can't read, since the message is corrupt or was just removed, doveadm prints nothing,
    so that all values after it stand in the wrong columns. A message begins where its user, mailbox and UID
    do: a sender can't write that, since no number follows the From field.
    """
    for user, mailbox, uid, flags, *rest in _records(values):
        numbers, senders = rest[:2], rest[2:]
        if len(numbers) == 2 and all(_NUMBER.fullmatch(one) for one in numbers):
            octets, received = map(int, numbers)
            seen = "\\Seen" in flags.split()
            yield StoredMessage(
                user, mailbox, int(uid), octets, received, seen, full.sender("".join(senders))
            )


def _records(values: Iterable[str]) -> Iterator[list[str]]:
    """The values of one message each; what came before an error comes first, then the error."""
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
    """The path of a file that lists `users`."""
    with tempfile.NamedTemporaryFile("w", encoding="ascii", suffix=".users") as file:
        file.write("".join(f"{user}\n" for user in users))
        file.flush()
        yield file.name
