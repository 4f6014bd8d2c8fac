"""Follows the journal and counts deliveries of smtp(8), incoming mail, verdicts and push notifications.

Passes smtp(8)'s outcomes for single recipients to `relay.recipient_refusals`.

The journal's cursor is stored in one transaction with the counts. So each line is counted once, however this
process ends (except for a delivery with lines before and after a restart). Lines that arrive together are
counted together.

A line is counted only if its user is the one that the program runs as. (The unit does not suffice: journald
can't find it for a process that has already ended.)
"""

from __future__ import annotations

import logging
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from types import MappingProxyType

from sqlalchemy.exc import SQLAlchemyError

from chatmail_milter.config.values import HostPort
from chatmail_milter.journal_line import JournalLine, decoded, user_ids
from chatmail_milter.store.contacts import Contact, CountedEvent
from chatmail_milter.store.peers import Peers
from mxdeliv_app.stats import inbound_log, smtp_log

# The user of each program whose lines are counted, by the name that it logs under.
USERS: Mapping[str, str] = MappingProxyType(
    {
        smtp_log.IDENTIFIER: "postfix",
        inbound_log.MILTER: "chatmail-milter",
        inbound_log.APP: "chatmail-web",
        inbound_log.PUSH: "chatmail-push",
        **dict.fromkeys(inbound_log.SMTPD, "postfix"),
    }
)
_AGAIN_AFTER = 5.0  # seconds, when journalctl ends or the store is away
_MOST = 1 << 18  # octets that are counted together: about 500 lines

log = logging.getLogger(__name__)


class Follower(threading.Thread):
    """Counts from now on until `stop`, from a child process `journalctl`.

    `about_recipient` gets each line of smtp(8) and its time, and returns whether the line reports the outcome
    for a recipient.
    """

    def __init__(
        self,
        peers: Peers,
        https_only: HostPort,
        about_recipient: Callable[[str, datetime], bool] | None = None,
        users: Mapping[str, str] = USERS,
    ) -> None:
        super().__init__(name="journal", daemon=True)
        self._users = users
        self._peers = peers
        self._about_recipient = about_recipient
        self._https_only = https_only
        self._reader = f"smtplog@{socket.gethostname()}"
        self._stopped = threading.Event()
        self._child: subprocess.Popen[bytes] | None = None

    def run(self) -> None:
        """Follows the journal. After an error, starts again at the stored cursor."""
        journalctl = shutil.which("journalctl")
        if journalctl is None:
            log.warning("event=no-journalctl consequence=smtp-and-inbound-are-not-counted")
            return
        while not self._stopped.is_set():
            try:
                self._follow(journalctl)
                if not self._stopped.is_set():
                    log.warning("event=journalctl-ended again_after=%.0fs", _AGAIN_AFTER)
            except SQLAlchemyError as error:
                log.error("event=journal-not-counted error=%s", type(error).__name__)
            except Exception:
                log.exception("event=journal-not-counted")
            self._stopped.wait(_AGAIN_AFTER)

    def stop(self) -> None:
        """Ends the thread and journalctl."""
        self._stopped.set()
        if self._child is not None:
            self._child.terminate()

    def _follow(self, journalctl: str) -> None:
        mark = self._peers.mark(self._reader)
        # Anew each time: a package that is installed later brings its user.
        uids = _uids(self._users)
        command = [
            journalctl,
            "--follow",
            "--no-tail",
            # Else only entries of this boot, by an ID that a sandboxed service in a container sees wrong.
            "--merge",
            "--quiet",
            "--output=json",
            "--output-fields=MESSAGE,SYSLOG_IDENTIFIER,_PID,_UID",
            *(f"SYSLOG_IDENTIFIER={name}" for name in self._users),
            # Of each pair too, below: this spares us others' lines.
            *sorted({f"_UID={uid}" for uid in uids.values()}),
        ]
        if mark is not None:
            command.append(f"--after-cursor={mark}")
        # Anew each time: what an earlier one knew of may never have been stored.
        smtp = smtp_log.SmtpLog(self._https_only)
        # No user's words are in the command: the cursor is journalctl's own.
        with subprocess.Popen(command, stdout=subprocess.PIPE) as child:  # noqa: S603
            self._child = child
            try:
                for entries in _together(child, uids):
                    found = [one for entry in entries if (one := _contact(entry, smtp)) is not None]
                    events = [event for entry in entries if (event := _event(entry)) is not None]
                    if self._recipients(entries) or found or events:
                        self._peers.add(found, events, reader=self._reader, mark=entries[-1].cursor)
            finally:
                child.terminate()

    def _recipients(self, entries: Iterable[JournalLine]) -> int:
        """Passes lines to `about_recipient`; returns the number of lines with an outcome."""
        if self._about_recipient is None:
            return 0
        number = 0
        for one in entries:
            if one.program == smtp_log.IDENTIFIER:
                try:
                    number += self._about_recipient(one.message, one.received)
                except Exception:
                    log.exception("event=line-not-noted")  # as in `_contact`
        return number


def _contact(entry: JournalLine, smtp: smtp_log.SmtpLog) -> Contact | None:
    try:
        if entry.program == smtp_log.IDENTIFIER:
            return smtp.contact(entry.pid, entry.message, entry.received)
        return inbound_log.contact(entry.program, entry.message, entry.received)
    except Exception:
        # One line that we can't read must not keep us from those that follow.
        log.exception("event=line-not-counted")
        return None


def _event(entry: JournalLine) -> CountedEvent | None:
    try:
        return inbound_log.event(entry.program, entry.message)
    except Exception:
        log.exception("event=line-not-counted")  # as in `_contact`
        return None


def _uids(users: Mapping[str, str]) -> dict[str, str]:
    """User IDs of the programs, where this host has the user."""
    ids = user_ids(users.values())
    for name in users.values():
        if name not in ids:
            log.warning("event=no-user name=%s consequence=lines-are-not-counted", name)
    return {program: ids[name] for program, name in users.items() if name in ids}


def _together(child: subprocess.Popen[bytes], uids: Mapping[str, str]) -> Iterator[list[JournalLine]]:
    """The output of journalctl since the last call, at least a line."""
    if child.stdout is None:
        raise RuntimeError("journalctl has no standard output")
    rest = b""
    while octets := os.read(child.stdout.fileno(), _MOST):
        *lines, rest = (rest + octets).split(b"\n")
        entries = [entry for line in lines if (entry := _entry(line, uids)) is not None]
        if entries:
            yield entries


def _entry(line: bytes, uids: Mapping[str, str]) -> JournalLine | None:
    """The line, if it is text and its user is the one that its program runs as."""
    found = decoded(line)
    return found if found is not None and found.user == uids.get(found.program) else None
