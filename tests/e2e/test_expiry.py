"""Expired mail and accounts, and deleted accounts, are removed with all their data."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from tests.chat import pgp, relay, signature, smtp
from tests.chat.carol import CAROL
from tests.chat.deadline import until
from tests.chat.imap import ImapMailbox, new_account
from tests.chat.login import by_imap, by_submission
from tests.chat.person import fresh_address, fresh_password
from tests.chat.relay import ctl
from tests.e2e.conftest import Login
from tests.e2e.test_quota import filler, names
from tests.lab import Lab
from tests.lab.host import LabHost
from tests.lab.plan import PROGRAMS

_ROWS = """
import sys
from chatmail_milter.store.engine import open_store
from chatmail_milter.store.tables import metadata
with open_store("sqlite:////var/lib/chatmail/store.sqlite").connect() as store:
    for table in metadata.sorted_tables:
        if any(sys.argv[1] in map(str, row) for row in store.execute(table.select())):
            print(table.name)
"""
_LOGGED_IN = """
import sqlite3, sys
with sqlite3.connect("/var/lib/chatmail/store.sqlite", timeout=5) as store:
    changed = store.execute("UPDATE accounts SET last_login = date('now', ?) WHERE address = ?", sys.argv[1:])
    assert changed.rowcount == 1
"""
LARGE = 250_000  # more than 200 kB


@pytest.fixture
def _no_other_pass(b: LabHost) -> Iterator[None]:
    """The timer's own pass, at any time of an hour, would remove what a test is about to count."""
    # One that has begun ends.
    b.run("systemctl stop chatmail-expire.timer && systemctl start chatmail-expire.service")
    yield
    b.run("systemctl start chatmail-expire.timer")


@pytest.fixture
def login(b: LabHost, _no_other_pass: None) -> Login:
    """A new account on _b.lab."""
    return new_account(b)


def home(host: LabHost, address: str) -> str:
    return f"/var/vmail/{host.domain}/{address.partition('@')[0]}"


def is_there(host: LabHost, path: str) -> bool:
    return host.run(["test", "-e", path], check=False).returncode == 0


def rows(host: LabHost, address: str) -> list[str]:
    """The tables of the store that have a row of an address."""
    return host.run([f"{PROGRAMS}/python3", "-c", _ROWS, address]).stdout.split()


def expire(host: LabHost) -> dict[str, str]:
    """A pass: what it said of each thing."""
    before = host.cursor()
    host.run("systemctl start chatmail-expire")
    lines = [str(one["MESSAGE"]) for one in host.journal("-u", "chatmail-expire", since=before)]
    return said(lines)


def said(lines: list[str]) -> dict[str, str]:
    found = (re.search(r"what=(\S+) (.*)", line) for line in lines)
    return {one[1]: one[2] for one in found if one}


def is_refused_as_with_a_wrong_password(host: LabHost, address: str) -> None:
    """At every door that makes accounts; the operator has to say that the name may be had again."""
    other = fresh_address(host.domain)
    for login in (by_imap, by_submission):
        assert login(host.ip, other, "the right one") == "OK"
        wrong = login(host.ip, other, "a wrong one")
        assert wrong.startswith(("[AUTHENTICATIONFAILED]", "535 5.7.8"))
        assert login(host.ip, address, fresh_password()) == wrong
    refused = host.run(["chatmailctl", "account", "create", address], check=False)
    assert (refused.returncode, "--reuse-name" in refused.stderr) == (1, True)


def test_mail_goes_after_20_days_and_large_mail_that_was_read_after_7(b: LabHost, login: Login) -> None:
    small = 2000
    with ImapMailbox(b.ip, *login) as mailbox:
        mailbox.put(filler("over20", small), days=20.1)
        mailbox.put(filler("over20large", LARGE), days=20.1)
        mailbox.put(filler("under20", small), days=19.9)
        mailbox.put(filler("readlarge", LARGE), days=7.1, flags="\\Seen")
        mailbox.put(filler("readlargenew", LARGE), days=6.9, flags="\\Seen")
        mailbox.put(filler("unreadlarge", LARGE), days=7.1)
        mailbox.put(filler("readsmall", small), days=7.1, flags="\\Seen")
        mailbox.make_folder("Other")
        mailbox.put(filler("elsewhere", small), days=20.1, folder="Other")
        every = set(names(mailbox))

        would = said(b.run("chatmail-expire --dry-run").stdout.splitlines())
        assert set(names(mailbox)) == every
        did = expire(b)
        # The client is still there, and sees what is left.
        assert set(names(mailbox)) == every - {"over20", "over20large", "readlarge"}
    assert would["old-mail"] == did["old-mail"]
    assert would["large-mail"] == did["large-mail"] == f"messages=1 octets={LARGE}"
    messages, octets = map(int, re.findall(r"\d+", did["old-mail"]))
    assert messages >= 3
    assert octets >= 2 * small + LARGE
    assert "failures=0" in did["pass"]
    # A second one finds nothing more.
    again = expire(b)
    assert again["old-mail"] == again["large-mail"] == "messages=0 octets=0"


def test_empty_folders_go_and_new_ones_stay(b: LabHost, login: Login) -> None:
    with ImapMailbox(b.ip, *login) as mailbox:
        for name in ("Old", "OldFull", "New"):
            mailbox.make_folder(name)
        mailbox.put(filler("there", 100), folder="OldFull")
    for name in ("Old", "OldFull", "INBOX"):
        # Its number says when it was made.
        b.run(["doveadm", "mailbox", "update", "--uid-validity", "1700000000", "-u", login[0], name])
    assert expire(b)["empty-folders"] == "folders=1"
    with ImapMailbox(b.ip, *login) as mailbox:
        assert mailbox.folders() == {"INBOX", "OldFull", "New"}


def test_accounts_go_that_nobody_used_for_90_days(b: LabHost, login: Login) -> None:
    kept = fresh_address(b.domain), fresh_password()
    with ImapMailbox(b.ip, *kept) as mailbox:
        mailbox.put(filler("x", 100))
    relay.operate(b, "account", "quota", login[0], "1GB")
    for address, days in ((login[0], 91), (kept[0], 90)):
        b.run([f"{PROGRAMS}/python3", "-c", _LOGGED_IN, f"-{days} days", address])
    assert said(b.run("chatmail-expire --dry-run").stdout.splitlines())["unused-accounts"] == "accounts=1"
    assert is_there(b, home(b, login[0]))
    assert expire(b)["unused-accounts"] == "accounts=1"
    assert not is_there(b, home(b, login[0]))
    assert rows(b, login[0]) == []
    assert is_there(b, home(b, kept[0]))
    assert b.run("ls -A /var/vmail/.deleted").stdout == ""
    is_refused_as_with_a_wrong_password(b, login[0])


def test_the_next_pass_is_within_the_hour_and_a_half(b: LabHost) -> None:
    before = time.time()
    shown = b.run("systemctl show chatmail-expire.timer --property=ActiveState,NextElapseUSecRealtime")
    fields = dict(line.split("=", 1) for line in shown.stdout.splitlines())
    assert fields["ActiveState"] == "active"
    due = b.run(["date", "+%s", "--date", fields["NextElapseUSecRealtime"]]).stdout
    after = time.time()
    assert before - 60 <= int(due) <= after + 5400


class TestDeleted:
    def test_nothing_is_left_and_the_session_ends(self, lab: Lab, b: LabHost, login: Login) -> None:
        relay.operate(b, "account", "quota", login[0], "1GB")
        with ImapMailbox(b.ip, *login) as idle, ImapMailbox(b.ip, *login) as busy:
            busy.put(filler("secret", 5000))
            idle.begin_idle()
            relay.operate(b, "account", "delete", login[0])
            assert not busy.is_open()
            until("the idle one is told", lambda: not idle.stays_quiet(0), 5)
        assert not is_there(b, home(b, login[0]))
        assert b.run("ls -A /var/vmail/.deleted").stdout == ""
        assert rows(b, login[0]) == []
        message = signature.sign(pgp.encrypted(CAROL, login[0], pgp.message_id()), "mta.lab", lab.paths)
        assert smtp.deliver(b.ip, CAROL, [login[0]], message).line.startswith("550 5.1.1")
        is_refused_as_with_a_wrong_password(b, login[0])
        # Whoever gets the name from the operator finds nothing.
        made = ctl(b, "account", "create", login[0], "--reuse-name")
        with ImapMailbox(b.ip, login[0], made["password"]) as mailbox:
            assert mailbox.messages() == []

    def test_while_others_write_to_it(self, lab: Lab, b: LabHost, login: Login) -> None:
        message = signature.sign(pgp.encrypted(CAROL, login[0], pgp.message_id()), "mta.lab", lab.paths)
        taken, over = Event(), Event()

        def write() -> set[int]:
            codes = set()
            while not over.is_set():
                codes.add(smtp.deliver(b.ip, CAROL, [login[0]], message).code)
                taken.set()
            return codes

        with ThreadPoolExecutor(4) as pool:
            writers = [pool.submit(write) for _ in range(4)]
            try:
                assert taken.wait(120)
                relay.operate(b, "account", "delete", login[0])
                assert not is_there(b, home(b, login[0]))
            finally:
                over.set()
            told = set().union(*(one.result() for one in writers))
        assert told <= {250, 550}
        assert not is_there(b, home(b, login[0]))
        until("nothing waits for it", lambda: relay.is_done_with(b, login[0]), 20, every=1)

    @pytest.mark.usefixtures("_no_other_pass")
    def test_what_was_cut_off_is_done_by_the_next_pass(self, b: LabHost) -> None:
        as_vmail = "setpriv --reuid=vmail --regid=vmail --clear-groups"
        b.run(f"{as_vmail} mkdir -p /var/vmail/.deleted/0123456789abcdef/Maildir/cur")
        expire(b)
        assert b.run("ls -A /var/vmail/.deleted").stdout == ""
