"""The expiry pass: its doveadm queries, the mail and accounts that it deletes, and how it resumes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from chatmail_milter import config
from chatmail_milter.config import values
from chatmail_milter.mailboxes import expire
from chatmail_milter.mailboxes.doveadm import (
    Doveadm,
    DoveadmError,
    Folder,
    MailboxContents,
    StoredMessage,
    Usage,
)
from chatmail_milter.mailboxes.expire import ExpiryPass, expired, is_left_over
from chatmail_milter.mailboxes.home import MailRemoval
from chatmail_milter.mailboxes.passes import Progress, UnderWayError
from chatmail_milter.store.accounts import Accounts
from chatmail_milter.store.engine import open_store
from tests import stores

NOW = 1_800_000_000
DAY = 86400
TODAY = datetime.fromtimestamp(NOW, UTC).date()
ALICE, BOB = "alice123@a.test", "bob12345@a.test"
DEFAULT = config.ExpirySettings()


class Mailboxes:
    """In doveadm's place: finds all that there is, and fails where it is told to."""

    def __init__(
        self, messages: Iterable[StoredMessage] = (), folders: Sequence[tuple[str, Folder]] = ()
    ) -> None:
        self.kept = list(messages)
        self.made = list(folders)
        self.full: list[Usage] = []
        self.unreadable = 0
        self.fails: set[str] = set()
        self.asked: list[tuple[str, ...]] = []
        # How many accounts there were whenever Dovecot forgot them.
        self.left: list[int] = []
        self.number: Callable[[], int] = lambda: 0

    def messages(self, users: Sequence[str], query: Sequence[str]) -> Iterator[StoredMessage]:
        self.asked.append(tuple(query))
        yield from [one for one in self.kept if one.user in users]
        self._fail("messages")

    def everything(self, user: str) -> MailboxContents:
        self._fail("everything")
        return MailboxContents([one for one in self.kept if one.user == user], self.unreadable)

    def usage(self, users: Sequence[str]) -> Iterator[Usage]:
        yield from [one for one in self.full if one.user in users]
        self._fail("usage")

    def folders(self, users: Sequence[str]) -> Iterator[tuple[str, Folder]]:
        yield from [one for one in self.made if one[0] in users]
        self._fail("folders")

    def expunge(self, messages: Sequence[StoredMessage]) -> None:
        self.kept = [one for one in self.kept if one not in messages]

    def delete_if_empty(self, user: str, folder: str) -> None:
        self.made = [one for one in self.made if (one[0], one[1].name) != (user, folder)]

    def forget_accounts(self) -> None:
        self.left.append(self.number())
        self._fail("forget")

    def _fail(self, what: str) -> None:
        if what in self.fails:
            raise DoveadmError(f"{what}: no")


def message(user: str, uid: int, days: float, octets: int = 10) -> StoredMessage:
    return StoredMessage(user, "inbox", uid, octets, int(NOW - days * DAY))


def a_pass(
    mailboxes: Mailboxes, rules: config.ExpirySettings = DEFAULT, *, dry_run: bool = False
) -> tuple[ExpiryPass, list[str]]:
    said: list[str] = []
    return ExpiryPass(rules, cast(Doveadm, mailboxes), NOW, said.append, dry_run=dry_run), said


def looked(mailboxes: Mailboxes, *users: str, **options: Any) -> list[str]:
    work, said = a_pass(mailboxes, **options)
    work.look_at(users)
    work.summarise()
    return said


class TestQuery:
    def test_all_mail_by_age_and_large_mail_that_was_read(self) -> None:
        assert expired(DEFAULT, NOW) == (
            "(", "BEFORE", str(NOW - 20 * DAY),
            "OR", "(", "SEEN", "LARGER", "200000", "BEFORE", str(NOW - 7 * DAY), ")", ")",
        )  # fmt: skip

    @pytest.mark.parametrize(
        ("rules", "words"),
        [
            (config.ExpirySettings(large_mail=values.Duration(0)), ("BEFORE", str(NOW - 20 * DAY))),
            (
                config.ExpirySettings(mail=values.Duration(0), large=values.Size(5)),
                ("(", "SEEN", "LARGER", "5", "BEFORE", str(NOW - 7 * DAY), ")"),
            ),
            (config.ExpirySettings(mail=values.Duration(0), large_mail=values.Duration(0)), ()),
        ],
    )
    def test_what_never_goes_is_not_looked_for(
        self, rules: config.ExpirySettings, words: tuple[str, ...]
    ) -> None:
        assert expired(rules, NOW) == words
        mailboxes = Mailboxes()
        looked(mailboxes, ALICE, rules=rules)
        assert mailboxes.asked == ([words] if words else [])


def test_mail_that_is_found_goes_and_is_counted_by_what_it_is() -> None:
    mailboxes = Mailboxes([message(ALICE, 1, 21), message(BOB, 1, 20.5, 300), message(BOB, 2, 8, 500)])
    said = looked(mailboxes, ALICE, BOB)
    assert mailboxes.kept == []
    assert said[:2] == ["what=old-mail messages=2 octets=310", "what=large-mail messages=1 octets=500"]


def test_a_dry_run_says_the_same_and_removes_nothing() -> None:
    def mailboxes() -> Mailboxes:
        made = Mailboxes([message(ALICE, 1, 21), message(ALICE, 2, 8)], [(ALICE, Folder("Old", 0, 5))])
        made.full = [Usage(ALICE, 80, 100)]
        return made

    dry, wet = mailboxes(), mailboxes()
    assert looked(dry, ALICE, dry_run=True)[:2] == looked(wet, ALICE)[:2]
    assert dry.kept == mailboxes().kept
    assert dry.made == mailboxes().made
    assert (wet.kept, wet.made) == ([], [])


def test_a_full_mailbox_loses_its_oldest_and_no_other_does() -> None:
    mailboxes = Mailboxes([message(user, day, 10 - day, 10) for user in (ALICE, BOB) for day in range(1, 9)])
    mailboxes.full = [Usage(ALICE, 80, 100), Usage(BOB, 74, 100)]
    never = config.ExpirySettings(mail=values.Duration(0), large_mail=values.Duration(0))
    said = looked(mailboxes, ALICE, BOB, rules=never)
    assert [one.uid for one in mailboxes.kept if one.user == ALICE] == [2, 3, 4, 5, 6, 7, 8]
    assert len([one for one in mailboxes.kept if one.user == BOB]) == 8
    assert "what=full-mailboxes messages=1 octets=10" in said
    assert not [line for line in said if "unreadable" in line]


def test_the_messages_that_can_not_be_read_in_full_mailboxes_are_counted_and_no_failure() -> None:
    mailboxes = Mailboxes([message(user, day, 10 - day, 10) for user in (ALICE, BOB) for day in range(1, 9)])
    mailboxes.full = [Usage(ALICE, 80, 100), Usage(BOB, 80, 100)]
    mailboxes.unreadable = 2
    work, said = a_pass(mailboxes)
    work.look_at([ALICE, BOB])
    work.summarise()
    assert "what=unreadable messages=4" in said
    assert work.failures == 0


@pytest.mark.parametrize(
    ("folder", "goes"),
    [
        (Folder("Old", 0, 99), True),
        (Folder("Old", 1, 99), False),
        (Folder("New", 0, 100), False),
        (Folder("INBOX", 0, 1), False),
        (Folder("inbox", 0, 1), False),
        (Folder("Inbox/Old", 0, 1), True),
    ],
)
def test_empty_folders_that_are_not_new_go(folder: Folder, goes: bool) -> None:
    assert is_left_over(folder, 100) is goes


@pytest.mark.parametrize("what", ["messages", "usage", "folders"])
def test_a_failure_is_told_and_hinders_nothing_else(what: str) -> None:
    mailboxes = Mailboxes([message(ALICE, 1, 21)], [(ALICE, Folder("Old", 0, 5))])
    mailboxes.fails = {what}
    work, said = a_pass(mailboxes)
    work.look_at([ALICE])
    assert (mailboxes.kept, mailboxes.made) == ([], [])
    assert work.failures == 1
    assert said == [f'what=failure error="{what}: no"']


def test_one_mailbox_in_trouble_keeps_no_other() -> None:
    class Troubled(Mailboxes):
        def expunge(self, messages: Sequence[StoredMessage]) -> None:
            if any(one.user == ALICE for one in messages):
                raise DoveadmError("expunge: no")
            super().expunge(messages)

    mailboxes = Troubled([message(ALICE, 1, 21), message(BOB, 1, 21)])
    said = looked(mailboxes, ALICE, BOB)
    assert [one.user for one in mailboxes.kept] == [ALICE]
    assert said[:2] == ['what=failure error="expunge: no"', "what=old-mail messages=1 octets=10"]


class TestUnused:
    @pytest.fixture
    def accounts(self, tmp_path: Path) -> Accounts:
        engine = open_store(stores.made(tmp_path / "store.sqlite"))
        accounts = Accounts(engine, today=lambda: TODAY - timedelta(days=91))
        for user in (ALICE, BOB):
            accounts.create(user, "{X}")
            place = tmp_path / "a.test" / user.partition("@")[0] / "Maildir"
            place.mkdir(parents=True)
        accounts.touch(BOB, TODAY - timedelta(days=90))
        accounts.set_quota(ALICE, 5)
        return accounts

    def run(
        self,
        accounts: Accounts,
        root: Path,
        rules: config.ExpirySettings = DEFAULT,
        *,
        forget_fails: bool = False,
        **options: Any,
    ) -> list[str]:
        self.mailboxes = Mailboxes()
        self.mailboxes.fails = {"forget"} if forget_fails else set()
        self.mailboxes.number = lambda: len(accounts.list())
        work, said = a_pass(self.mailboxes, rules, **options)
        work.delete_unused(accounts, MailRemoval(root, sleep=lambda _: None, clock=counting()), root)
        return said

    def test_goes_with_all_that_is_its_own(self, accounts: Accounts, tmp_path: Path) -> None:
        assert self.run(accounts, tmp_path) == ["what=unused-accounts accounts=1"]
        assert [one.address for one in accounts.list()] == [BOB]
        assert [path.name for path in (tmp_path / "a.test").iterdir()] == ["bob12345"]
        assert list((tmp_path / ".deleted").iterdir()) == []
        assert self.mailboxes.left == [1, 1], "once more, for what was asked before it was gone"

    def test_dovecot_is_told_of_each_batch(
        self, accounts: Accounts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(expire, "_BATCH", 2)
        for number in range(3):
            accounts.create(f"unused{number}@a.test", "{X}")
        assert self.run(accounts, tmp_path) == ["what=unused-accounts accounts=4"]
        assert self.mailboxes.left == [3, 1, 1]

    def test_dovecot_is_told_of_those_that_went_before_one_could_not(
        self, accounts: Accounts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        accounts.create("unused12@a.test", "{X}")
        (tmp_path / "a.test" / "unused12").mkdir()
        put_away = MailRemoval.put_away

        def of_one(removal: MailRemoval, mailbox: Path) -> Path | None:
            if mailbox.name == "unused12":
                raise PermissionError(13, "Permission denied")
            return put_away(removal, mailbox)

        monkeypatch.setattr(MailRemoval, "put_away", of_one)
        said = ['what=failure error="deleting: Permission denied"', "what=unused-accounts accounts=1"]
        assert self.run(accounts, tmp_path) == said
        assert self.mailboxes.left[0] == 2

    def test_goes_all_the_same_if_dovecot_can_not_be_told(self, accounts: Accounts, tmp_path: Path) -> None:
        said = self.run(accounts, tmp_path, forget_fails=True)
        assert said == ['what=failure error="forget: no"'] * 2 + ["what=unused-accounts accounts=1"]
        assert list((tmp_path / ".deleted").iterdir()) == []

    def test_is_only_counted_in_a_dry_run(self, accounts: Accounts, tmp_path: Path) -> None:
        assert self.run(accounts, tmp_path, dry_run=True) == ["what=unused-accounts accounts=1"]
        assert len(accounts.list()) == 2
        assert (tmp_path / "a.test" / "alice123").exists()
        assert self.mailboxes.left == []

    def test_stays_where_the_operator_wants_it(self, accounts: Accounts, tmp_path: Path) -> None:
        rules = config.ExpirySettings(accounts=values.Duration(0))
        assert self.run(accounts, tmp_path, rules) == ["what=unused-accounts accounts=0"]
        assert len(accounts.list()) == 2

    def test_stays_if_its_user_comes_at_the_last_moment(
        self, accounts: Accounts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = accounts.unused

        def and_then_a_login(since: date) -> tuple[str, ...]:
            found = before(since)
            accounts.touch(ALICE, TODAY)
            return found

        monkeypatch.setattr(accounts, "unused", and_then_a_login)
        assert self.run(accounts, tmp_path) == ["what=unused-accounts accounts=0"]
        assert (tmp_path / "a.test" / "alice123" / "Maildir").exists()

    def test_stays_whole_if_its_mail_can_not_be_put_away(
        self, accounts: Accounts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def denied(_self: MailRemoval, _mailbox: Path) -> Path | None:
            raise PermissionError(13, "Permission denied", "/secret/path")

        monkeypatch.setattr(MailRemoval, "put_away", denied)
        assert self.run(accounts, tmp_path)[0] == 'what=failure error="deleting: Permission denied"'
        assert len(accounts.list()) == 2
        assert [one.quota for one in accounts.list()] == [5, None]


class TestProgress:
    def test_a_pass_that_was_cut_off_is_resumed(self, tmp_path: Path) -> None:
        self.cut_off(tmp_path, ALICE)
        with Progress(tmp_path, now(tmp_path), kept=True) as progress:
            assert (progress.reached, progress.resumed) == (ALICE, True)
            progress.reached = "b@a.test"
        with Progress(tmp_path, now(tmp_path), kept=True) as progress:
            assert (progress.reached, progress.resumed) == ("", False)

    def test_but_not_the_day_after(self, tmp_path: Path) -> None:
        self.cut_off(tmp_path, ALICE)
        with Progress(tmp_path, now(tmp_path) + 86401, kept=True) as progress:
            assert (progress.reached, progress.resumed) == ("", False)

    def test_a_dry_run_leaves_it_as_it_is(self, tmp_path: Path) -> None:
        self.cut_off(tmp_path, ALICE)
        with Progress(tmp_path, now(tmp_path), kept=False) as progress:
            assert progress.reached == ""
            progress.reached = BOB
        with Progress(tmp_path, now(tmp_path), kept=True) as progress:
            assert progress.reached == ALICE

    def test_there_is_one_at_a_time(self, tmp_path: Path) -> None:
        with (
            Progress(tmp_path, NOW, kept=True),
            pytest.raises(UnderWayError),
            Progress(tmp_path, NOW, kept=True),
        ):
            pass

    def cut_off(self, root: Path, user: str) -> None:
        with suppress(KeyboardInterrupt), Progress(root, NOW, kept=True) as progress:
            # The first is longer: nothing of it may be left.
            progress.reached = "x" * 50
            progress.reached = user
            raise KeyboardInterrupt


def now(root: Path) -> float:
    return os.stat(root / ".expiring").st_mtime + 1 if (root / ".expiring").exists() else NOW


def counting() -> Callable[[], float]:
    """A clock that goes on by itself."""
    seconds = iter(range(1_000_000))
    return lambda: float(next(seconds))


def test_users_are_asked_about_in_batches_each_once() -> None:
    users = [f"u{number:04}" for number in range(450)]
    batches = list(expire._batches(iter(users)))
    assert [len(batch) for batch in batches] == [200, 200, 50]
    assert [user for batch in batches for user in batch] == users
