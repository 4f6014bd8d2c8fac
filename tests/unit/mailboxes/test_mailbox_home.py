"""Mailbox directories: their paths, and deletion by a rename first."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chatmail_milter.mailboxes.home import MailRemoval, home
from tests.unit.clock import Clock


class SleepingClock(Clock):
    """Time that passes only in sleep; `meanwhile` is done in the first ones."""

    def __init__(self, *meanwhile: Callable[[], object]) -> None:
        super().__init__()
        self.meanwhile = list(meanwhile)

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.meanwhile:
            self.meanwhile.pop(0)()


def mailbox(root: Path, name: str = "alice123") -> Path:
    place = root / "a.test" / name
    (place / "Maildir" / "new").mkdir(parents=True)
    (place / "Maildir" / "new" / "1.secret").write_text("secret")
    return place


def removal(root: Path, clock: SleepingClock | None = None) -> MailRemoval:
    clock = clock or SleepingClock()
    return MailRemoval(root, clock, clock.sleep)


def secrets_left(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


def test_a_mailbox_is_called_as_its_address() -> None:
    root = Path("/m")
    assert home(root, "alice123@a.test") == Path("/m/a.test/alice123")
    assert home(root, "alice123@[192.0.2.1]") == Path("/m/[192.0.2.1]/alice123")


@pytest.mark.parametrize(
    "user", ["", "@a.test", "a/b@a.test", "..@a.test", "A@a.test", "x", "../y@a.test", "x@."]
)
def test_nobody_has_another_place(user: str) -> None:
    assert home(Path("/m"), user) is None


@pytest.mark.skipif(os.getuid() != 0, reason="gives files away")
def test_root_deletes_nothing_that_a_link_of_the_mailboxes_user_leads_to(tmp_path: Path) -> None:
    # Other users can come to no directory of the tests, so all that the mailboxes' user does here fails.
    root, etc = tmp_path / "vmail", tmp_path / "etc"
    place = mailbox(root)
    os.chown(root, 4711, 4711)
    (etc / "dir").mkdir(parents=True)
    (root / ".deleted").symlink_to(etc)
    with pytest.raises(PermissionError):
        removal(root).put_away(place)
    with pytest.raises(PermissionError):
        removal(root).finish()
    assert ([one.name for one in etc.iterdir()], etc.stat().st_uid) == (["dir"], 0)


def test_put_away_it_is_out_of_sight_under_a_name_that_says_nothing(tmp_path: Path) -> None:
    place = mailbox(tmp_path)
    found = removal(tmp_path).put_away(place)
    assert not place.exists()
    assert found is not None
    assert "alice" not in str(found.relative_to(tmp_path))
    assert (found.parent.stat().st_mode & 0o777) == 0o700
    assert (found / "Maildir" / "new" / "1.secret").exists()
    assert removal(tmp_path).put_away(place) is None


def test_what_was_put_away_before_a_crash_goes_with_the_next(tmp_path: Path) -> None:
    removal(tmp_path).put_away(mailbox(tmp_path))
    other = mailbox(tmp_path, "bob12345")
    removal(tmp_path).finish()
    assert secrets_left(tmp_path) == [other / "Maildir" / "new" / "1.secret"]


def test_what_a_delivery_makes_meanwhile_goes_too(tmp_path: Path) -> None:
    place = mailbox(tmp_path)
    clock = SleepingClock(lambda: None, lambda: mailbox(tmp_path), lambda: None, lambda: mailbox(tmp_path))
    work = removal(tmp_path, clock)
    work.put_away(place)
    work.finish([place])
    assert secrets_left(tmp_path) == []
    assert not place.exists()


def test_one_that_comes_back_for_ever_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    place = mailbox(tmp_path)
    clock = SleepingClock(*[lambda: mailbox(tmp_path)] * 10_000)
    removal(tmp_path, clock).finish([place])
    assert clock.now < 200


def test_two_at_once_are_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = removal(tmp_path)
    work.put_away(mailbox(tmp_path))
    real = shutil.rmtree

    def raced(path: Path, **options: Any) -> None:
        real(path)
        real(path, **options)

    monkeypatch.setattr(shutil, "rmtree", raced)
    work.finish()
    assert secrets_left(tmp_path) == []


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("x")
    root = tmp_path / "mail"
    place = mailbox(root)
    (place / "Maildir" / ".Folder").symlink_to(outside)
    work = removal(root)
    work.put_away(place)
    work.finish()
    assert (outside / "kept").exists()


def test_without_a_directory_for_mail_there_is_nothing_to_do(tmp_path: Path) -> None:
    work = removal(tmp_path / "nowhere")
    place = tmp_path / "nowhere" / "a.test" / "alice123"
    assert work.put_away(place) is None
    work.finish([place])
