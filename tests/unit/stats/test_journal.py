"""The journal's reader counts each line once, across restarts and outages of the store."""

from __future__ import annotations

import os
import pwd
import sys
from pathlib import Path

import pytest

from chatmail_milter.config.values import HostPort
from chatmail_milter.store.engine import open_store
from chatmail_milter.store.peers import Peers
from chatmail_milter.store.refusals import Refusals
from mxdeliv_app.relay.recipient_refusals import RecipientRefusals
from mxdeliv_app.stats.journal import USERS as USERS_OF_A_RELAY
from mxdeliv_app.stats.journal import Follower, _uids
from tests import stores
from tests.chat.deadline import until

HTTPS_ONLY = HostPort("127.0.0.1:10027")
SMTP, MILTER = "postfix/smtp-mx/smtp", "chatmail-milter"
ME = pwd.getpwuid(os.getuid()).pw_name
# The programs run as us, but for one.
USERS = {SMTP: ME, MILTER: ME, "gunicorn": "nobody"}
# Speaks as journalctl does, of a journal that is a file: identifier, user ID and message, with tabs. Cursors:
# line numbers.
JOURNALCTL = """#!PYTHON -IS
import json, sys, time
after = next((int(one.split("=")[1]) for one in sys.argv if one.startswith("--after-cursor=")), 0)
wanted = [one.split("=")[1] for one in sys.argv if one.startswith("SYSLOG_IDENTIFIER=")]
assert "--follow" in sys.argv
for number, line in enumerate(open(sys.argv[0] + ".journal"), 1):
    identifier, uid, message = line.rstrip("\\n").split("\\t")
    if number > after and identifier in wanted:
        entry = {"MESSAGE": message, "SYSLOG_IDENTIFIER": identifier, "_PID": "7", "__CURSOR": str(number)}
        entry |= {"_UID": uid} if uid else {}
        print(json.dumps(entry | {"__REALTIME_TIMESTAMP": "1900000000000000"}), flush=True)
time.sleep(60)
"""


class Journal:
    """A journal of that kind, and counts of it."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "journalctl.journal"
        engine = open_store(stores.made(directory / "store.sqlite"))
        self.peers = Peers(engine)
        self.refusals = RecipientRefusals(Refusals(engine, b"k" * 32), HTTPS_ONLY)
        program = directory / "journalctl"
        program.write_text(JOURNALCTL.replace("PYTHON", sys.executable))
        program.chmod(0o755)
        self._file.write_text("")

    def write(self, *lines: tuple[str, str], uid: int | str = os.getuid()) -> None:
        with self._file.open("a") as file:
            file.writelines(f"{identifier}\t{uid}\t{message}\n" for identifier, message in lines)

    def count(self, attempts: int) -> dict[tuple[str, str], tuple[int, int]]:
        """Attempts and successes, when a follower that begins now has come to so many attempts."""
        follower = Follower(self.peers, HTTPS_ONLY, self.refusals.logged, USERS)
        follower.start()

        def counted() -> bool:
            return sum(row.attempts for row in self.peers.list()) >= attempts

        until(f"{attempts} attempts are counted", counted, 10, every=0.02)
        follower.stop()
        follower.join(120)
        assert not follower.is_alive()
        return {(row.domain, row.road): (row.attempts, row.successes) for row in self.peers.list()}


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Journal:
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return Journal(tmp_path)


def sent(queue_id: str, to: str = "bob@b.test") -> tuple[str, str]:
    return SMTP, (
        f"{queue_id}: to=<{to}>, relay=mx[192.0.2.1]:25, delay=0.8, delays=0.1/0/0.3/0.4, dsn=2.0.0,"
        " status=sent (250 2.0.0 Ok)"
    )


def verdict(domain: str, verdict: str = "pass", reason: str = "encrypted") -> tuple[str, str]:
    return MILTER, (
        f"road=smtp verdict={verdict} reason={reason} queue=4Xb2 size=99 domain={domain} seconds=0.0100"
    )


def test_restart_neither_loses_nor_doubles(journal: Journal) -> None:
    journal.write(sent("A"), sent("B"), verdict("b.test"))
    assert journal.count(3) == {("b.test", "inbound"): (1, 1), ("b.test", "smtp"): (2, 2)}
    journal.write(
        (SMTP, "noise"), ("sshd", "noise"), sent("C", "x@c.test"), verdict("c.test", "reject", "dkim-none")
    )
    assert journal.count(5) == {
        ("b.test", "inbound"): (1, 1),
        ("b.test", "smtp"): (2, 2),
        ("c.test", "inbound"): (1, 0),
        ("c.test", "smtp"): (1, 1),
    }


@pytest.mark.parametrize("uid", [os.getuid() + 1, 4294967295, ""])
def test_line_that_another_user_logged_is_not_counted(journal: Journal, uid: int | str) -> None:
    journal.write(verdict("forged.test"), sent("A", "x@forged.test"), uid=uid)
    journal.write(verdict("b.test"))
    assert journal.count(1) == {("b.test", "inbound"): (1, 1)}


def test_line_of_one_program_s_user_under_another_program_s_name_is_not_counted(journal: Journal) -> None:
    journal.write(verdict("forged.test"), uid=pwd.getpwnam("nobody").pw_uid)
    journal.write(("gunicorn", "event=failed domain=forged.test status=503 reason=cut"))
    journal.write(verdict("b.test"))
    assert journal.count(1) == {("b.test", "inbound"): (1, 1)}


def test_program_without_a_user_on_this_host_counts_for_nothing() -> None:
    """And is no reason not to count the others."""
    assert set(_uids({MILTER: ME, SMTP: "no-such-user"})) == {MILTER}


def test_each_program_has_the_user_that_its_unit_gives() -> None:
    assert dict(USERS_OF_A_RELAY) == {
        "postfix/smtp-mx/smtp": "postfix",
        "postfix/smtpd": "postfix",
        "postfix/mxdeliv/smtpd": "postfix",
        "chatmail-milter": "chatmail-milter",
        "gunicorn": "chatmail-web",
        "chatmail-push": "chatmail-push",
    }


def test_lines_that_cannot_be_read_do_not_hide_those_that_follow(journal: Journal) -> None:
    journal.write(
        verdict("b.test"), (MILTER, "road=smtp verdict=pass reason=x queue= size= domain= seconds=1.2.3")
    )
    journal.write((SMTP, "A: to=<bob@b.test>, delays=//"), (SMTP, "\ufffd" * 9), verdict("b.test"))
    assert journal.count(2) == {("b.test", "inbound"): (2, 2)}


def test_thousands_of_lines_are_counted_in_seconds(journal: Journal) -> None:
    journal.write(*(verdict("b.test") for _ in range(5000)))
    assert journal.count(5000) == {("b.test", "inbound"): (5000, 5000)}


def refused(queue_id: str, to: str) -> tuple[str, str]:
    return SMTP, (
        f"{queue_id}: to=<{to}>, relay=mx[192.0.2.1]:25, delay=0.8, delays=0.1/0/0.3/0.4, dsn=5.1.1,"
        f" status=bounced (host mx[192.0.2.1] said: 550 5.1.1 <{to}>: unknown (in reply to RCPT TO command))"
    )


def test_what_smtp_was_told_of_each_recipient_is_noted(journal: Journal) -> None:
    journal.write(refused("A", "ann@b.test"), refused("A", "ben@b.test"), refused("B", "cat@b.test"))
    journal.write(sent("C", "ben@b.test"))
    assert journal.count(3) == {("b.test", "smtp"): (3, 1)}
    known = {name: journal.refusals.verdict(f"{name}@b.test") for name in ("ann", "ben", "cat")}
    assert {name: found and found.reply for name, found in known.items()} == {
        "ann": "550 5.1.1 unknown",
        "ben": None,
        "cat": "550 5.1.1 unknown",
    }
