"""`chatmailctl account`: list, suspend, delete, and the end of the account's open sessions."""

from __future__ import annotations

import ipaddress
import json
import os
import sqlite3
from datetime import date
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from chatmail_milter.ctl import account, dovecot
from chatmail_milter.mailboxes import home
from chatmail_milter.mailboxes.doveadm import parse_connections
from chatmail_milter.store.accounts import Accounts
from chatmail_milter.store.engine import open_store
from chatmail_milter.store.policies import Policies
from chatmail_milter.verdict import Action
from tests.unit.chatmailctl import rows, run

ALICE, BOB = "alice123@a.test", "bob12345@a.test"
TODAY = date.today().isoformat()

# Like the real one: a table, and nobody is ended by less than `kicks` kicks.
DOVEADM = """#!/bin/sh
shift 2  # -o and a setting
echo "$@" >> "$0.log"
case "$1 $2" in
    "-f tab") cat "$0.who" ;;
    "user -f") echo "$0.home" ;;
    "kick "*)
        kicks=$(($(cat "$0.kicks") - 1)); echo $kicks > "$0.kicks"
        [ $kicks -gt 0 ] || { grep -v "^$2	" "$0.who" > "$0.new"; cp "$0.new" "$0.who"; } ;;
esac
"""
WHO = "username\tproto\tpid\tip\n"


@pytest.fixture(autouse=True)
def _accounts(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHATMAIL_DOVEADM", str(tmp_path / "doveadm"))
    accounts = Accounts(open_store(store))
    for address in (ALICE, BOB):
        accounts.create(address, "{ARGON2ID}x")


@pytest.fixture
def doveadm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A script in Dovecot's place: `.who` is what it answers, `.log` what it was asked."""
    program = tmp_path / "doveadm"
    program.write_text(DOVEADM)
    program.chmod(0o755)
    program.with_suffix(".kicks").write_text("1")
    (program.with_suffix(".home") / "Maildir" / "new").mkdir(parents=True)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    # What is started to look again has the real doveadm, and takes minutes.
    monkeypatch.setattr(dovecot, "_look_again", lambda *which: (tmp_path / "again").write_text(str(which)))
    return program


@pytest.fixture
def mail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of all mailboxes; nobody delivers to them, so nothing is waited for."""
    monkeypatch.setattr(home, "SETTLED", 0.0)
    (tmp_path / "mail").mkdir()
    return tmp_path / "mail"


def accounts_listed() -> Any:
    return rows("account", "list")


def connected(doveadm: Path, *lines: tuple[str, str]) -> None:
    doveadm.with_suffix(".who").write_text(
        WHO + "".join(f"{user}\timap\t7\t{peer}\n" for user, peer in lines)
    )


def test_accounts_are_listed_without_what_guards_them_and_deleted() -> None:
    assert accounts_listed()[0] == {"address": ALICE, "created": TODAY, "last_login": None, "suspended": None}
    assert "ARGON2ID" not in run("account", "list").output
    assert run("account", "delete", "Alice123@a.test").exit_code == 0
    assert run("account", "delete", ALICE).exit_code == 1
    assert [row["address"] for row in accounts_listed()] == [BOB]


def test_with_an_account_go_its_mail_and_its_sessions(
    store: str, tmp_path: Path, doveadm: Path, mail: Path
) -> None:
    place = mail / "a.test" / "alice123"
    (place / "Maildir" / "new").mkdir(parents=True)
    (place / "Maildir" / "new" / "1.secret").write_text("secret")
    Accounts(open_store(store)).set_quota(ALICE, 5)
    connected(doveadm, (ALICE, "192.0.2.7"), (BOB, "192.0.2.7"))
    result = run("account", "delete", ALICE)
    assert (result.exit_code, result.stderr) == (0, "Ended the IMAP sessions of 1 user.\n")
    assert [path for path in mail.rglob("*") if path.is_file()] == []
    assert Accounts(open_store(store)).lookup(ALICE) is None
    asked = doveadm.with_suffix(".log").read_text()
    assert f"kick {BOB}" not in asked
    # Dovecot knows no such user any more.
    assert "user -f home" not in asked


def test_nothing_of_an_account_is_left_in_the_files_of_the_store(store: str, mail: Path) -> None:
    # Somebody has it open, as on a relay: the log stays, with pages that were changed more than once.
    others = open_store(store)
    Accounts(others).set_password(ALICE, "{X}traceable")
    with others.connect():
        assert b"alice123" in files(store)
        assert run("account", "delete", ALICE).exit_code == 0
        left = files(store)
    assert b"alice123" not in left
    assert b"traceable" not in left
    assert b"bob12345" in left


def test_a_store_that_is_being_read_says_that_its_log_has_traces(store: str, mail: Path) -> None:
    with sqlite3.connect(store.removeprefix("sqlite:///"), isolation_level=None) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM accounts").fetchall()
        result = run("account", "delete", ALICE)
    reader.close()
    assert (result.exit_code, "has traces of the account" in result.stderr) == (0, True)


def files(store: str) -> bytes:
    """All that is in a store's files."""
    file = Path(store.removeprefix("sqlite:///"))
    return b"".join(one.read_bytes() for one in file.parent.glob(f"{file.name}*"))


def test_a_link_in_a_mailbox_makes_no_file_of_root_s_elsewhere(
    tmp_path: Path, doveadm: Path, mail: Path
) -> None:
    new = doveadm.with_suffix(".home") / "Maildir" / "new"
    (new / ".wake").symlink_to(tmp_path / "nologin" / "made")
    (tmp_path / "nologin").mkdir()
    connected(doveadm, (ALICE, "192.0.2.7"))
    assert run("account", "suspend", ALICE).exit_code == 0
    assert [*(tmp_path / "nologin").iterdir(), *new.iterdir()] == []


@pytest.mark.skipif(os.getuid() != 0, reason="gives files away")
def test_a_mailbox_that_is_a_link_meanwhile_makes_no_file_of_root_s_elsewhere(
    tmp_path: Path, doveadm: Path, mail: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.chown(mail, 4711, 4711)
    new = doveadm.with_suffix(".home") / "Maildir" / "new"
    new.rmdir()
    new.symlink_to(tmp_path)
    made, open_file = [], os.open

    def opened(path: Any, *options: Any, **named: Any) -> int:
        file = open_file(path, *options, **named)
        made.append(Path(path).name)
        return file

    monkeypatch.setattr(os, "open", opened)
    connected(doveadm, (ALICE, "192.0.2.7"))
    assert run("account", "suspend", ALICE).exit_code == 0
    assert ".wake" not in made


def test_deliveries_forget_a_deleted_account_after_its_sessions_ended_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A question of before the deletion may be answered, and its answer remembered, after the first time.
    done: list[str] = []
    monkeypatch.setattr(account, "forget_accounts", lambda: done.append("forget"))
    monkeypatch.setattr(account, "end_of", lambda *_: done.append("end"))
    assert run("account", "delete", ALICE).exit_code == 0
    assert done == ["forget", "end", "forget"]


def test_mail_without_an_account_can_be_deleted_too(mail: Path) -> None:
    (mail / "a.test" / "nobody12" / "Maildir").mkdir(parents=True)
    assert run("account", "delete", "nobody12@a.test").exit_code == 0
    assert list((mail / "a.test").iterdir()) == []
    assert run("account", "delete", "nobody12@a.test").exit_code == 1


def test_an_account_stays_if_its_mail_can_not_go(mail: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(_path: Path, _target: Path) -> None:
        raise PermissionError

    (mail / "a.test" / "alice123").mkdir(parents=True)
    monkeypatch.setattr(Path, "rename", denied)
    result = run("account", "delete", ALICE)
    assert result.exit_code == 1
    assert "run this as root" in result.stderr
    assert [row["address"] for row in accounts_listed()] == [ALICE, BOB]


def test_a_suspended_account_is_listed_as_such_and_resumed(store: str) -> None:
    assert run("account", "suspend", "Alice123@a.test").exit_code == 0
    assert Policies(open_store(store)).current().login(ALICE, None).action is Action.REJECT
    assert [row["suspended"] for row in accounts_listed()] == [TODAY, None]
    assert "Suspended since" in run("account", "list").output
    assert "was suspended before" in run("account", "suspend", ALICE).stdout
    assert run("account", "resume", ALICE).exit_code == 0
    assert Policies(open_store(store)).current().login(ALICE, None).action is Action.PASS
    assert [row["suspended"] for row in accounts_listed()] == [None, None]


def test_who_is_not_there_is_not_suspended_and_whoever_is_not_suspended_stays_so() -> None:
    result = run("account", "suspend", "nobody12@a.test")
    assert result.exit_code == 1
    assert "`chatmailctl block add nobody12@a.test` prevents its creation" in result.stderr
    again = run("account", "resume", ALICE)
    assert (again.exit_code, again.stdout) == (0, f"{ALICE} was not suspended.\n")
    assert run("account", "resume", "nobody12@a.test").exit_code == 1
    assert run("account", "suspend", "no address").exit_code == 2


def test_an_account_that_was_suspended_stays_so_when_it_is_deleted(store: str) -> None:
    run("account", "suspend", ALICE)
    assert "stays suspended" in run("account", "delete", ALICE).stdout
    assert accounts_listed()[0] == {"address": ALICE, "created": None, "last_login": None, "suspended": TODAY}
    assert "deleted" in run("account", "list").output
    assert Policies(open_store(store)).current().login(ALICE, None).action is Action.REJECT
    assert run("account", "resume", ALICE).exit_code == 0
    assert [row["address"] for row in accounts_listed()] == [BOB]


class TestLateLogins:
    """A login that was under way while the sessions were ended."""

    def late(self, monkeypatch: pytest.MonkeyPatch, user: str) -> list[float]:
        """What is started to look again, all at once; when it looked, in seconds."""
        waited: list[float] = []
        monkeypatch.setattr(dovecot, "time", SimpleNamespace(monotonic=lambda: 0.0, sleep=waited.append))
        monkeypatch.setattr("sys.stdin", StringIO(json.dumps({"user": user, "home": None})))
        dovecot.end_late_logins()
        return waited

    def test_its_session_is_ended_when_no_login_can_be_older_than_the_change(
        self, doveadm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        connected(doveadm)
        assert run("account", "password", ALICE, "--random").exit_code == 0
        assert (tmp_path / "again").read_text() == str((ALICE, None))
        connected(doveadm, (ALICE, "192.0.2.7"), (BOB, "192.0.2.7"))
        # Dovecot's MASTER_LOGIN_TIMEOUT_SECS.
        assert self.late(monkeypatch, ALICE)[-1] == 180
        assert doveadm.with_suffix(".who").read_text() == f"{WHO}{BOB}\timap\t7\t192.0.2.7\n"

    def test_of_those_whom_the_policy_refuses_by_then_as_well(
        self, doveadm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        connected(doveadm)
        run("account", "suspend", ALICE)
        assert (tmp_path / "again").read_text() == "()"
        connected(doveadm, (ALICE, "192.0.2.7"), (BOB, "192.0.2.7"))
        self.late(monkeypatch, "")
        assert ALICE not in doveadm.with_suffix(".who").read_text()
        assert BOB in doveadm.with_suffix(".who").read_text()

    def test_of_a_deleted_account_too(self, doveadm: Path, tmp_path: Path, mail: Path) -> None:
        connected(doveadm)
        assert run("account", "delete", ALICE).exit_code == 0
        assert ALICE in (tmp_path / "again").read_text()


class TestSessions:
    def test_those_of_the_suspended_are_ended_and_no_others(self, doveadm: Path) -> None:
        connected(doveadm, (ALICE, "192.0.2.7"), (BOB, "192.0.2.7"), (ALICE, "198.51.100.7"))
        result = run("account", "suspend", ALICE)
        assert (result.exit_code, result.stderr) == (0, "Ended the IMAP sessions of 1 user.\n")
        assert f"kick {BOB}" not in doveadm.with_suffix(".log").read_text()

    def test_a_blocked_network_ends_those_of_all_who_come_from_there(self, doveadm: Path) -> None:
        connected(doveadm, (ALICE, "192.0.2.7"), (BOB, "2001:db8::7"))
        assert run("block", "add", "192.0.2.0/24", "2001:db8::/32").stderr == (
            "Ended the IMAP sessions of 2 users.\n"
        )

    def test_who_sleeps_on_is_woken_and_tried_again(self, doveadm: Path) -> None:
        doveadm.with_suffix(".kicks").write_text("4")
        connected(doveadm, (ALICE, "192.0.2.7"))
        assert run("account", "suspend", ALICE).stderr == "Ended the IMAP sessions of 1 user.\n"
        assert doveadm.with_suffix(".log").read_text().count("kick") == 4
        assert list((doveadm.with_suffix(".home") / "Maildir" / "new").iterdir()) == []

    def test_who_can_not_be_ended_is_named_in_the_end(
        self, doveadm: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(dovecot, "DEADLINE", 0.2)
        doveadm.with_suffix(".kicks").write_text("100000")
        connected(doveadm, (ALICE, "192.0.2.7"))
        result = run("account", "suspend", ALICE)
        assert (result.exit_code, result.stderr) == (0, f"Still open, see `doveadm who`: those of {ALICE}.\n")

    def test_nobody_connected_is_nothing_to_tell(self, doveadm: Path) -> None:
        connected(doveadm, (BOB, "192.0.2.7"))
        assert run("account", "suspend", ALICE).stderr == ""

    @pytest.mark.parametrize(
        "output", ["", "Fatal: no\n", "username\tproto\tpid\tip\nx\timap\t7\tnowhere\n", "a\tb\nc\td\n"]
    )
    def test_a_dovecot_that_is_not_understood_is_no_failure(self, doveadm: Path, output: str) -> None:
        doveadm.with_suffix(".who").write_text(output)
        result = run("account", "suspend", ALICE)
        assert result.exit_code == 0
        assert result.stderr.count("\n") <= 1

    def test_who_is_not_root_is_told_that_it_takes_root(
        self, doveadm: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        result = run("account", "suspend", ALICE)
        assert (result.exit_code, result.stderr) == (
            0, "IMAP sessions that are open stay open: only root can end them.\n"
        )  # fmt: skip

    def test_lines_of_doveadm(self) -> None:
        lines = (
            f"{ALICE}\timap\t7\t192.0.2.7",
            f"{BOB}\tlmtp\t8\t::1",
            f"{BOB}\timap\t8\t2001:db8::1",
            f"{BOB}\timap\t9\t",
        )
        assert list(parse_connections(WHO + "\n".join(lines))) == [
            (ALICE, ipaddress.ip_address("192.0.2.7")),
            (BOB, ipaddress.ip_address("2001:db8::1")),
            (BOB, None),
        ]

    def test_dovecot_2_4_names_them_otherwise(self) -> None:
        lines = (
            "username\tservice\tpid\tip\tdest_ip",
            f"{ALICE}\timap\t48\t192.0.2.7\t",
            f"{BOB}\timap-hibernate\t32\t2001:db8::1\t",
            f"{BOB}\tlmtp\t33\t\t",
        )
        assert list(parse_connections("\n".join(lines))) == [
            (ALICE, ipaddress.ip_address("192.0.2.7")),
            (BOB, ipaddress.ip_address("2001:db8::1")),
        ]
