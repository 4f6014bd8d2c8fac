"""Backup and restore of a relay: store, files, mailboxes. A script that copies is in place of `doveadm`."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, nullcontext
from datetime import UTC, datetime
from pathlib import Path

import pytest

from chatmail_milter.backup import copies
from chatmail_milter.backup.directory import NEEDED, BackupError, Directory, manifest
from chatmail_milter.ctl.backup import stopped
from chatmail_milter.mailboxes.doveadm import Doveadm, DoveadmError
from chatmail_milter.store.accounts import Accounts
from chatmail_milter.store.engine import open_store
from tests.unit.chatmailctl import run

ALICE, BOB = "alice123@a.test", "bob45678@a.test"
ME = os.getuid(), os.getgid()
root = pytest.mark.skipif(os.getuid() != 0, reason="gives files away")


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """The root of a host with the files that are needed."""
    for one in (*NEEDED, "etc/opendkim/keys/chatmail.private"):
        file = tmp_path / "host" / one
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"of the old host: {one}")
        file.chmod(0o640)
    return tmp_path / "host"


@pytest.fixture
def place(tmp_path: Path) -> Directory:
    return Directory(tmp_path / "backup")


@root
class TestDirectory:
    def test_files_come_back_as_they_were_and_only_they(
        self, place: Directory, host: Path, tmp_path: Path
    ) -> None:
        place.make(ME)
        kept = place.write_files(host)
        assert {*NEEDED, "etc/opendkim/keys"} == {*kept}
        bare = tmp_path / "bare"
        (bare / "etc/chatmail").mkdir(parents=True)
        (bare / "etc/chatmail/names.key").write_text("of the new host")
        (bare / "etc/opendkim/keys").mkdir(parents=True)
        (bare / "etc/opendkim/keys/chatmail.private").write_text("of the new host")
        assert place.read_files(bare) == kept
        assert "of the old host" in (bare / "etc/opendkim/keys/chatmail.private").read_text()
        file = bare / "etc/chatmail/names.key"
        assert (file.read_text(), file.stat().st_mode & 0o777) == (
            "of the old host: etc/chatmail/names.key",
            0o640,
        )

    def test_nobody_else_can_read_it(self, place: Directory, host: Path) -> None:
        place.make((4711, 4711))
        place.write_files(host)
        modes = {one.name: (one.stat().st_mode & 0o777, one.stat().st_uid) for one in place.path.iterdir()}
        assert modes == {"files.tar": (0o600, 0), "mail": (0o700, 4711)}
        # doveadm comes by as the mailboxes' user, and sees no name.
        assert (place.path.stat().st_mode & 0o777, place.path.stat().st_gid) == (0o710, 4711)

    def test_below_a_directory_that_is_closed_to_the_mailboxes_user_there_is_none(
        self, place: Directory, tmp_path: Path
    ) -> None:
        closed = tmp_path / "closed"
        closed.mkdir(mode=0o700)
        with pytest.raises(BackupError, match="closed is closed to other users"):
            Directory(closed / "backup").be_passable((4711, 4711))

    def test_below_a_directory_of_the_mailboxes_user_there_is_none(self, tmp_path: Path) -> None:
        (tmp_path / "vmail").mkdir()
        os.chown(tmp_path / "vmail", 4711, 4711)
        for path in ("vmail/sub/backup", "vmail"):
            with pytest.raises(BackupError, match=r"can write to .*/vmail\Z"):
                Directory(tmp_path / path).be_out_of_reach((4711, 4711))

    @pytest.mark.parametrize(
        ("gid", "mode", "is_refused"),
        [(0, 0o777, True), (0, 0o1777, False), (4711, 0o770, True), (4711, 0o750, False), (0, 0o770, False)],
    )
    def test_below_a_directory_that_the_mailboxes_user_can_write_to_there_is_none(
        self, tmp_path: Path, gid: int, mode: int, is_refused: bool
    ) -> None:
        above = tmp_path / "above"
        above.mkdir()
        os.chown(above, 0, gid)
        above.chmod(mode)
        with pytest.raises(BackupError, match="can write to") if is_refused else nullcontext():
            Directory(above / "backup").be_out_of_reach((4711, 4711))

    def test_without_a_key_that_is_needed_there_is_no_backup(self, place: Directory, host: Path) -> None:
        place.make(ME)
        (host / "etc/chatmail/store.key").unlink()
        with pytest.raises(BackupError, match=r"there is no /etc/chatmail/store\.key"):
            place.write_files(host)

    def test_a_directory_of_other_things_stays_as_it_is(self, place: Directory) -> None:
        place.path.mkdir()
        (place.path / "holiday.jpg").touch()
        with pytest.raises(BackupError, match="choose an empty directory"):
            place.make(ME)

    @pytest.mark.parametrize("name", ["etc/passwd", "etc/chatmail/../passwd", "etc/opendkim/keysring"])
    def test_an_archive_with_other_files_is_not_unpacked(
        self, place: Directory, host: Path, tmp_path: Path, name: str
    ) -> None:
        place.make(ME)
        (host / "etc/passwd").touch()
        (host / "etc/opendkim/keysring").touch()
        subprocess.run(
            [
                "tar",
                "--create",
                "--absolute-names",
                f"--file={place.path}/files.tar",
                f"--directory={host}",
                name,
            ],
            check=True,
        )
        with pytest.raises(BackupError, match="unaltered"):
            place.read_files(tmp_path / "bare")


@pytest.mark.parametrize("path", ["/a:b", "/50%", "/a\nb"])
def test_doveadm_would_take_these_paths_for_something_else(path: str) -> None:
    with pytest.raises(BackupError, match="without"):
        Directory(Path(path))


def test_a_backup_that_was_cut_off_is_none(place: Directory) -> None:
    place.path.mkdir()
    with pytest.raises(BackupError, match="finished"):
        place.manifest()
    made = manifest("a.test", "1.2", "sqlite", datetime.now(UTC), (2, 1))
    place.write_manifest(made)
    assert place.manifest() == made
    place.begin()
    with pytest.raises(BackupError, match="finished"):
        place.manifest()


@pytest.mark.parametrize("text", ["", "[]", '{"format": 1}', '{"strange": 1}'])
def test_a_manifest_that_is_none_is_an_error_in_one_line(place: Directory, text: str) -> None:
    place.path.mkdir()
    (place.path / "manifest.json").write_text(text)
    with pytest.raises(BackupError, match=r"\Achoose a backup that is unaltered: .*\Z"):
        place.manifest()


def test_a_newer_format_names_the_program_that_can_read_it(place: Directory) -> None:
    place.path.mkdir()
    place.write_manifest(manifest("a.test", "9.9", "sqlite", datetime.now(UTC), (2, 1)))
    found = json.loads((place.path / "manifest.json").read_text())
    (place.path / "manifest.json").write_text(json.dumps(found | {"format": 2}))
    with pytest.raises(BackupError, match=r"install the program that made it, 9\.9"):
        place.manifest()


def test_a_store_in_use_is_copied_with_all_that_is_committed(tmp_path: Path) -> None:
    live, copy, other = (tmp_path / name for name in ("live.sqlite", "copy.sqlite", "other.sqlite"))
    with closing(sqlite3.connect(live)) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute("CREATE TABLE t (x)")
        writer.execute("INSERT INTO t VALUES (1)")
        writer.commit()
        writer.execute("INSERT INTO t VALUES (2)")  # not committed
        copies.copy_store(live, copy)
    assert copy.stat().st_mode & 0o777 == 0o600
    other.write_text("")
    other.chmod(0o660)
    (tmp_path / "other.sqlite-wal").write_text("of the store that was there")
    copies.restore_store(copy, other)
    assert {one.name for one in tmp_path.iterdir() if one.name.startswith("other")} == {"other.sqlite"}
    assert other.stat().st_mode & 0o777 == 0o660
    with closing(sqlite3.connect(other)) as found:
        assert found.execute("SELECT x FROM t").fetchall() == [(1,)]


def test_a_link_beside_the_store_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "copy.sqlite").write_text("a store")
    (tmp_path / "store.sqlite").touch(mode=0o660)
    (tmp_path / "passwd").write_text("root:")
    (tmp_path / "store.sqlite.restored").symlink_to(tmp_path / "passwd")
    copies.restore_store(tmp_path / "copy.sqlite", tmp_path / "store.sqlite")
    assert (tmp_path / "passwd").read_text() == "root:"
    assert (tmp_path / "store.sqlite").read_text() == "a store"


@pytest.fixture
def doveadm(tmp_path: Path) -> Doveadm:
    """Copies the Maildir of a user, as `doveadm backup -u USER maildir:PLACE` does, or fails."""
    program = tmp_path / "doveadm"
    program.write_text(
        "#!/bin/sh\n"
        f'user=$(echo "$*" | sed "s/.*-u \\([^@]*\\)@.*/\\1/"); to=${{*##*maildir:}}\n'
        f'test -e {tmp_path}/away && {{ echo "no such user" >&2; exit 67; }}\n'
        f'mkdir -p "$to" && cp -a {tmp_path}/vmail/a.test/$user/Maildir/. "$to"\n'
    )
    program.chmod(0o755)
    return Doveadm(str(program))


def give_away(*places: Path) -> None:
    """Give them and all that is in them to the mailboxes' user."""
    for place in places:
        for one in (place, *place.rglob("*")):
            os.chown(one, 4711, 4711, follow_symlinks=False)


def fail(error: DoveadmError) -> None:
    raise error


class TestMail:
    @pytest.fixture(autouse=True)
    def mailboxes(self, tmp_path: Path) -> None:
        for user in (ALICE, BOB):
            maildir = tmp_path / "vmail/a.test" / user.partition("@")[0] / "Maildir"
            (maildir / "cur").mkdir(parents=True)
            (maildir / "cur/1").write_text(f"to {user}")
            os.utime(maildir / "cur/1", (1_700_000_000, 1_700_000_000))
        (tmp_path / "out").mkdir()
        self.groups = os.getgroups()

    @pytest.fixture
    def passable(self, tmp_path: Path) -> Iterator[None]:
        """For other users than root, who could come to no directory of the tests."""
        closed = [one for one in (tmp_path, *tmp_path.parents) if not one.stat().st_mode & 0o001]
        for one in closed:
            one.chmod(one.stat().st_mode | 0o001)
        yield
        for one in closed:
            one.chmod(one.stat().st_mode & ~0o001)

    def test_what_comes_back_is_what_was_there_with_its_times(self, tmp_path: Path, doveadm: Doveadm) -> None:
        errors: list[DoveadmError] = []
        users = [ALICE, BOB, "nomail12@a.test"]
        assert copies.copy_mail(doveadm, tmp_path / "vmail", users, tmp_path / "out", errors.append) == 2
        assert errors == []
        (tmp_path / "new").mkdir()
        assert copies.restore_mail(tmp_path / "out", tmp_path / "new", "a.test") == [ALICE, BOB]
        file = tmp_path / "new/a.test/alice123/Maildir/cur/1"
        assert (file.read_text(), file.stat().st_mtime) == (f"to {ALICE}", 1_700_000_000)

    def test_who_was_deleted_is_in_no_later_backup(self, tmp_path: Path, doveadm: Doveadm) -> None:
        for users in ([ALICE, BOB], [ALICE]):
            copies.copy_mail(doveadm, tmp_path / "vmail", users, tmp_path / "out", fail)
        assert [one.name for one in (tmp_path / "out").iterdir()] == ["alice123"]

    @root
    def test_a_link_of_the_mailboxes_user_gives_no_other_directory_away(
        self, tmp_path: Path, doveadm: Doveadm, passable: None
    ) -> None:
        (tmp_path / "etc").mkdir()
        for one in ("vmail", "out"):
            os.chown(tmp_path / one, 4711, 4711)
        (tmp_path / "out/alice123").symlink_to(tmp_path / "etc")
        (tmp_path / "out/stranger").symlink_to(tmp_path / "etc")
        assert copies.copy_mail(doveadm, tmp_path / "vmail", [ALICE], tmp_path / "out", fail) == 1
        assert ((tmp_path / "etc").stat().st_uid, [*(tmp_path / "etc").iterdir()]) == (0, [])
        assert [one.name for one in (tmp_path / "out").iterdir()] == ["alice123"]

    @root
    def test_a_link_that_is_put_there_meanwhile_lets_root_write_nowhere(
        self, tmp_path: Path, passable: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        copytree = shutil.copytree

        def swap(source: Path, target: Path, *, symlinks: bool) -> None:
            target.parent.rename(tmp_path / "new/aside")
            target.parent.symlink_to(tmp_path / "etc")
            copytree(source, target, symlinks=symlinks)

        monkeypatch.setattr(shutil, "copytree", swap)
        (tmp_path / "etc").mkdir(mode=0o755)
        (tmp_path / "new").mkdir()
        give_away(tmp_path / "new", tmp_path / "vmail")
        with pytest.raises(OSError, match="Permission denied"):
            copies.restore_mail(tmp_path / "vmail/a.test", tmp_path / "new", "a.test")
        assert [*(tmp_path / "etc").iterdir()] == []
        assert (os.geteuid(), os.getegid(), os.getgroups()) == (0, 0, self.groups)

    @root
    def test_a_backup_is_restored_by_the_mailboxes_user_from_where_only_root_can_come_to(
        self, tmp_path: Path, passable: None
    ) -> None:
        closed, new = tmp_path / "closed", tmp_path / "new"
        closed.mkdir(mode=0o700)
        (tmp_path / "vmail/a.test").rename(closed / "mail")
        (closed / "mail").chmod(0o700)
        new.mkdir()
        os.chown(new, 4711, 4711)
        with pytest.raises(BackupError, match=r"give .*/closed/mail and all in it to the owner of"):
            copies.restore_mail(closed / "mail", new, "a.test")
        give_away(closed / "mail")
        assert copies.restore_mail(closed / "mail", new, "a.test") == [ALICE, BOB]
        assert {(one.stat().st_uid, one.stat().st_gid) for one in new.rglob("*")} == {(4711, 4711)}

    @root
    def test_what_only_root_can_read_comes_into_no_mailbox(self, tmp_path: Path, passable: None) -> None:
        """As a link that was put there meanwhile would lead to."""
        (tmp_path / "new").mkdir()
        give_away(tmp_path / "new", tmp_path / "vmail")
        secret = tmp_path / "vmail/a.test/alice123/Maildir/cur/1"
        secret.chmod(0o600)
        os.chown(secret, 0, 0)
        with pytest.raises(OSError, match="Permission denied"):
            copies.restore_mail(tmp_path / "vmail/a.test", tmp_path / "new", "a.test")

    @pytest.mark.parametrize("link", ["alice123", "alice123/Maildir"])
    def test_a_link_in_a_backup_brings_nothing_into_a_mailbox(self, tmp_path: Path, link: str) -> None:
        secret = tmp_path / "root/Maildir"
        secret.mkdir(parents=True)
        (secret / "key").touch()
        (tmp_path / "out" / link).parent.mkdir(exist_ok=True)
        (tmp_path / "out" / link).symlink_to(secret if "/" in link else secret.parent)
        (tmp_path / "new").mkdir()
        assert copies.restore_mail(tmp_path / "out", tmp_path / "new", "a.test") == []
        assert [*(tmp_path / "new").rglob("key")] == []

    def test_a_mailbox_that_cannot_be_read_is_told_and_the_others_go_on(
        self, tmp_path: Path, doveadm: Doveadm
    ) -> None:
        (tmp_path / "away").touch()
        errors: list[DoveadmError] = []
        assert (
            copies.copy_mail(doveadm, tmp_path / "vmail", [ALICE, BOB], tmp_path / "out", errors.append) == 0
        )
        assert [one.status for one in errors] == [67, 67]


def test_restore_waits_for_each_unit_of_ours_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    """systemctl itself waits only for those that it is given: the store must have no writer."""
    orders: list[tuple[str, ...]] = []

    def systemctl(*words: str) -> str:
        orders.append(words)
        return "chatmail-hooks.service mxdeliv-relay.socket\n" if words[0] == "show" else ""

    monkeypatch.setattr("chatmail_milter.ctl.backup._systemctl", systemctl)
    units = {"postfix.service", "chatmail.target", "chatmail-hooks.service", "mxdeliv-relay.socket"}
    with stopped():
        assert {"stop", *units} < {*orders[-1]}


@root
class TestRestoreRefuses:
    """Before anything is stopped or written."""

    @pytest.fixture
    def backup(self, tmp_path: Path, store: str) -> str:
        place = Directory(tmp_path / "backup")
        place.path.mkdir()
        (tmp_path / "mail").mkdir(exist_ok=True)
        place.write_manifest(manifest("a.test", "1.2", "sqlite", datetime.now(UTC), (2, 1)))
        return str(place.path)

    @pytest.fixture(autouse=True)
    def nothing_is_stopped(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("chatmail_milter.ctl.backup._systemctl", pytest.fail)

    def test_a_backup_of_another_domain(self, tmp_path: Path, backup: str) -> None:
        Directory(Path(backup)).write_manifest(
            manifest("other.test", "1.2", "sqlite", datetime.now(UTC), (2, 1))
        )
        result = run("restore", "--yes", backup)
        assert (result.exit_code, "deploy this host for other.test first" in result.output) == (1, True)

    def test_a_host_with_accounts(self, tmp_path: Path, backup: str, store: str) -> None:
        Accounts(open_store(store)).create(ALICE, "{SHA512-CRYPT}x")
        result = run("restore", "--yes", backup)
        assert (result.exit_code, "this one has accounts" in result.output) == (1, True)

    def test_a_host_with_mail(self, tmp_path: Path, backup: str) -> None:
        (tmp_path / "mail/a.test/alice123").mkdir(parents=True)
        result = run("restore", "--yes", backup)
        assert (result.exit_code, "this one has mail in" in result.output) == (1, True)

    def test_a_script_that_did_not_say_yes(self, backup: str) -> None:
        result = run("restore", backup)
        assert (result.exit_code, "add --yes" in result.output) == (2, True)

    def test_what_is_no_backup(self, tmp_path: Path, store: str) -> None:
        (tmp_path / "empty").mkdir()
        assert run("restore", "--yes", str(tmp_path / "empty")).exit_code == 1
        assert run("restore", "--yes", str(tmp_path / "nowhere")).exit_code == 2
