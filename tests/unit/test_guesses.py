"""Guessing of one account's password: 20 a minute are checked, and the owner's own always."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from falcon import testing

from chatmail_milter import config
from chatmail_milter.rules.policy import OPEN
from chatmail_milter.store.accounts import Accounts
from chatmail_milter.store.engine import open_store
from mxdeliv_app.dovecot.guesses import Guesses
from mxdeliv_app.dovecot.hooks import app

SECRET = "5ec2e7" * 8
ALICE, BOB, NOBODY = "alice123@a.example", "bob12345@a.example", "nobody12@a.example"
RIGHT, WRONG = 0xABC, 0x123


@pytest.fixture(params=["of its own", "of a file"])
def guesses(request: pytest.FixtureRequest, tmp_path: Path) -> Guesses:
    if request.param == "of its own":
        return Guesses()
    (tmp_path / "guesses").touch()
    return Guesses(tmp_path / "guesses")


def checked(guesses: Guesses, at: float, tries: int, user: str = ALICE, fingerprint: int = WRONG) -> int:
    """How many of `tries` at one time are checked."""
    return sum(guesses.may_check(user, fingerprint, at) for _ in range(tries))


def test_twenty_are_checked_at_once_and_then_one_each_3_s(guesses: Guesses) -> None:
    assert checked(guesses, 1000.0, 500) == 20
    assert checked(guesses, 1002.999, 500) == 0
    for one in range(1, 50):
        assert checked(guesses, 1000.0 + 3 * one, 50) == 1


def test_the_password_that_was_right_and_other_accounts_are_checked_meanwhile(guesses: Guesses) -> None:
    guesses.right(ALICE, RIGHT)
    assert checked(guesses, 1000.0, 500) == 20
    assert checked(guesses, 1000.0, 500, fingerprint=RIGHT) == 500
    assert checked(guesses, 1000.0, 500, BOB, RIGHT) == 20


def test_of_two_right_ones_the_last_is_known(guesses: Guesses) -> None:
    for fingerprint in (RIGHT, 0, 0xFFF):
        guesses.right(ALICE, fingerprint)
        assert [one for one in (RIGHT, WRONG, 0, 0xFFF) if guesses.knows(ALICE, one)] == [fingerprint]


def test_a_thousand_accounts_are_known_each_by_its_own(guesses: Guesses) -> None:
    fingerprints = {f"u{number}@a.example": number * 37 % 4096 for number in range(1000)}
    for user, fingerprint in fingerprints.items():
        guesses.right(user, fingerprint)
    assert all(guesses.knows(user, fingerprint) for user, fingerprint in fingerprints.items())
    assert sum(guesses.knows(user, fingerprint ^ 1) for user, fingerprint in fingerprints.items()) == 0


def test_what_is_in_a_file_outlives_the_program_and_is_shared_by_processes(tmp_path: Path) -> None:
    path = tmp_path / "guesses"
    path.touch()
    ours = Guesses(path)
    ours.right(ALICE, RIGHT)
    child = os.fork()
    if not child:
        os._exit(checked(ours, 1000.0, 15))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 15
    next_one = Guesses(path)
    assert next_one.knows(ALICE, RIGHT)
    assert checked(next_one, 1000.0, 15) == 5
    stored = path.read_bytes()
    assert ALICE.encode() not in stored


class TestHooks:
    @pytest.fixture
    def accounts(self, tmp_path: Path) -> Accounts:
        made = Accounts(open_store(f"sqlite:///{tmp_path}/store.sqlite"))
        made.create(ALICE, "{X}")
        return made

    @pytest.fixture
    def to(self, accounts: Accounts) -> testing.TestClient:
        settings = config.parse('[mail]\ndomain = "a.example"')
        today = lambda: date(2026, 3, 2)  # noqa: E731
        return testing.TestClient(
            app.create_app(settings, lambda: accounts, lambda: OPEN, lambda: None, SECRET, today)
        )

    def ask(self, to: testing.TestClient, question: str, fingerprint: Any = "0123", **what: Any) -> Any:
        body = {"fingerprint": fingerprint, **what}
        return to.simulate_post(f"/dovecot/{question}", json=body, headers={"X-Chatmail-Secret": SECRET})

    def lookups(self, to: testing.TestClient, number: int, user: str, fingerprint: str = "0123") -> list[int]:
        return [
            self.ask(to, "lookup", fingerprint, user=user, ip="192.0.2.1").status_code for _ in range(number)
        ]

    @pytest.mark.parametrize(("user", "checked"), [(ALICE, 200), (NOBODY, 404)])
    def test_the_21st_is_put_off_whether_there_is_an_account_or_not(
        self, to: testing.TestClient, user: str, checked: int
    ) -> None:
        assert self.lookups(to, 22, user) == [checked] * 20 + [429] * 2

    def test_the_password_of_a_login_is_known_from_then_on(self, to: testing.TestClient) -> None:
        assert self.ask(to, "lookup", "0abc", user=ALICE, ip="").json["seen"] is False
        assert self.ask(to, "login", "0abc", user=ALICE).status_code == 204
        assert self.lookups(to, 30, ALICE)[-1] == 429
        assert self.lookups(to, 30, ALICE, "0abc") == [200] * 30
        assert self.ask(to, "lookup", "0abc", user=ALICE, ip="").json["seen"] is True

    def test_another_right_password_of_the_same_day_is_still_to_be_told(self, to: testing.TestClient) -> None:
        self.ask(to, "login", "0abc", user=ALICE)
        assert self.ask(to, "lookup", "0def", user=ALICE, ip="").json["seen"] is False

    def test_the_password_of_a_first_login_is_known_from_then_on(self, to: testing.TestClient) -> None:
        assert self.ask(to, "create", "0abc", user=BOB, password="correct horse").status_code == 201
        assert self.ask(to, "create", "0123", user=BOB, password="wrong horse").status_code == 409
        assert self.lookups(to, 30, BOB, "0abc") == [200] * 30
        assert self.lookups(to, 30, BOB)[-1] == 429

    def test_what_is_no_login_is_no_guess(self, to: testing.TestClient) -> None:
        assert [self.ask(to, "lookup", None, user=ALICE).status_code for _ in range(30)] == [200] * 30
        assert [self.ask(to, "mailbox", None, user=ALICE).status_code for _ in range(30)] == [200] * 30

    @pytest.mark.parametrize("fingerprint", ["", "12", "12345", "xyzw", "12\n4", 12, "0ABC"])
    def test_what_is_no_fingerprint_is_a_400(self, to: testing.TestClient, fingerprint: Any) -> None:
        assert self.ask(to, "lookup", fingerprint, user=ALICE).status_code == 400
