"""What is in mailboxes, and taking it out, by `doveadm`: clients are told at once, and indexes stay right.

Runs as the user who owns the mail, or as root. Names users to doveadm in a file, since there may be many and
Dovecot can't list them. What it prints is read as it comes. doveadm(1), doveadm-search-query(7)
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
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

_MESSAGE_FIELDS = "mailbox-guid uid size.virtual date.received.unixtime"


class DoveadmError(Exception):
    """It ended with an error; what it printed was yielded before. The message names nobody."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message: its octets as the quota counts them, and when it came, in POSIX time.

    Whether it was `seen`, and its `sender` (`full.sender`), are known where `Doveadm.everything` found it.
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

    def messages(self, users: Sequence[str], query: Sequence[str]) -> Iterator[Message]:
        """The messages of `users` that `query` finds, in all of their folders."""
        with _listed(users) as file:
            found = self._rows("fetch", "-F", file, _MESSAGE_FIELDS, "mailbox", "*", *query)
            for row in found:
                yield Message(
                    row["Username"],
                    row["mailbox-guid"],
                    int(row["uid"]),
                    int(row["size.virtual"]),
                    int(row["date.received.unixtime"]),
                )

    def everything(self, user: str) -> Iterator[Message]:
        """All messages of `user`, in all folders."""
        wanted = f"{_MESSAGE_FIELDS} flags hdr.from"
        # In a table a header field could end its column, or its row.
        printed = "".join(self._lines("json", "fetch", "-u", user, wanted, "mailbox", "*", "ALL"))
        try:
            # A field may have control characters that Dovecot leaves as they are.
            rows = json.loads(printed or "[]", strict=False)
        except ValueError:
            raise DoveadmError("doveadm fetch: its JSON is malformed") from None
        for row in rows:
            yield Message(
                user,
                row["mailbox-guid"],
                int(row["uid"]),
                int(row["size.virtual"]),
                int(row["date.received.unixtime"]),
                "\\Seen" in row["flags"].split(),
                full.sender(row["hdr.from"]),
            )

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

    def expunge(self, messages: Sequence[Message]) -> None:
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
                raise DoveadmError(f"doveadm {arguments[0]}: exit status {running.returncode}: {words}")


@contextmanager
def _listed(users: Sequence[str]) -> Iterator[str]:
    """The path of a file that lists `users`."""
    with tempfile.NamedTemporaryFile("w", encoding="ascii", suffix=".users") as file:
        file.write("".join(f"{user}\n" for user in users))
        file.flush()
        yield file.name
