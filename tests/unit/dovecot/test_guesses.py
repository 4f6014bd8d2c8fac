"""The limit on password guesses of an account: 20 at once and 20 a minute, apart for networks it uses."""

from __future__ import annotations

import os
from datetime import date
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from falcon import testing

from chatmail_milter import config
from chatmail_milter.address import Peer
from chatmail_milter.rules.policy import OPEN
from chatmail_milter.store.accounts import Accounts
from chatmail_milter.store.engine import open_store
from mxdeliv_app.dovecot.guesses import Guesses
from mxdeliv_app.dovecot.hooks import app
from tests import stores

SECRET = "5ec2e7" * 8
ALICE, BOB, NOBODY = "alice123@a.example", "bob12345@a.example", "nobody12@a.example"
RIGHT, WRONG = 0xABC, 0x123
HOME, AWAY = ip_address("192.0.2.1"), ip_address("198.51.100.7")


@pytest.fixture(params=["of its own", "of a file"])
def guesses(request: pytest.FixtureRequest, tmp_path: Path) -> Guesses:
    if request.param == "of its own":
        return Guesses()
    (tmp_path / "guesses").touch()
    return Guesses(tmp_path / "guesses")


def checked(
    guesses: Guesses, at: float, tries: int, user: str = ALICE, fingerprint: int = WRONG, peer: Peer = HOME
) -> int:
    """How many of `tries` at one time are checked."""
    return sum(guesses.may_check(user, fingerprint, peer, at) for _ in range(tries))


def elsewhere(number: int) -> Peer:
    """An address of a network of its own."""
    return ip_address(f"10.{number}.3.4")


def test_twenty_are_checked_at_once_and_then_one_each_3_s(guesses: Guesses) -> None:
    assert checked(guesses, 1000.0, 50) == 20
    assert checked(guesses, 1002.999, 50) == 0
    for one in range(1, 20):
        assert checked(guesses, 1000.0 + 3 * one, 5) == 1


def test_of_all_networks_sixty_are_checked_at_once_and_then_one_a_second(guesses: Guesses) -> None:
    """45 of them from any networks, the others from those that had less than four checked in the hour."""
    at_once = [checked(guesses, 1000.0, 25, peer=elsewhere(n)) for n in range(8)]
    assert at_once == [20, 20, 5, 4, 4, 4, 3, 0]
    assert sum(checked(guesses, 1000.999, 2, peer=elsewhere(n)) for n in range(100, 110)) == 0
    for one in range(1, 12):
        assert sum(checked(guesses, 1000.0 + one, 2, peer=elsewhere(n)) for n in range(100, 110)) == 1


def test_guessers_of_eight_networks_leave_room_for_the_owner_in_a_new_one(guesses: Guesses) -> None:
    guesses.right(ALICE, RIGHT, HOME)
    total = sum(checked(guesses, 1000.0, 25, peer=elsewhere(n)) for n in range(8))
    for second in range(1, 61):
        total += sum(checked(guesses, 1000.0 + second, 1, peer=elsewhere(n)) for n in range(8))
        if second % 20 == 0:
            assert checked(guesses, 1000.0 + second, 1, fingerprint=RIGHT, peer=elsewhere(100 + second)) == 1
    assert total <= 60 + 60


def test_the_room_for_new_networks_is_there_for_wrong_ones_too_and_four_times_an_hour(
    guesses: Guesses,
) -> None:
    """Else who is let in there says that the password is right."""
    for n in range(3):
        checked(guesses, 1000.0, 25, peer=elsewhere(n))
    assert checked(guesses, 1000.0, 9, peer=elsewhere(3)) == 4
    for minute, checked_again in ((14, 0), (16, 1), (29, 0), (31, 1)):
        for n in range(3):
            checked(guesses, 1000.0 + 60 * minute, 20, peer=elsewhere(n))
        assert checked(guesses, 1000.0 + 60 * minute, 9, peer=elsewhere(3)) == checked_again


def test_the_owner_is_checked_from_where_logins_came_while_others_guess(guesses: Guesses) -> None:
    guesses.right(ALICE, RIGHT, HOME)
    assert sum(checked(guesses, 1000.0, 25, peer=elsewhere(n)) for n in range(8)) == 60
    assert checked(guesses, 1000.0, 50, fingerprint=RIGHT) == 50
    assert checked(guesses, 1000.0, 50, BOB, RIGHT) == 20


def test_from_elsewhere_the_right_password_is_limited_as_a_wrong_one(guesses: Guesses) -> None:
    """Else whoever guesses fast enough gets in: wrong ones are put off, and the right one is let in."""
    guesses.right(ALICE, RIGHT, HOME)
    assert checked(guesses, 1000.0, 50, peer=AWAY) == 20
    assert checked(guesses, 1000.0, 50, fingerprint=RIGHT, peer=AWAY) == 0
    assert checked(guesses, 1000.0, 50, fingerprint=RIGHT, peer=None) == 20, "a program on this host"


def test_a_guesser_of_one_machine_leaves_room_for_the_owner_in_a_new_network(guesses: Guesses) -> None:
    guesses.right(ALICE, RIGHT, HOME)
    for second in range(90):
        checked(guesses, 1000.0 + second, 5, peer=AWAY)
        checked(guesses, 1000.0 + second, 5, peer=ip_address("2001:db8:1::1"))
    assert checked(guesses, 1090.0, 1, fingerprint=RIGHT, peer=elsewhere(1)) == 1


@pytest.mark.parametrize(
    ("address", "alike", "is_one"),
    [
        ("192.0.2.1", "192.0.255.254", True),
        ("192.0.2.1", "192.1.2.1", False),
        ("::ffff:192.0.2.1", "192.0.77.1", True),
        ("2001:db8::1", "2001:db8:ffff::1", True),
        ("2001:db8::1", "2001:db9::1", False),
        ("2001:db8::1", "192.0.2.1", False),
    ],
)
def test_a_network_is_about_a_providers(guesses: Guesses, address: str, alike: str, is_one: bool) -> None:
    guesses.right(ALICE, RIGHT, ip_address(address))
    assert guesses.knows(ALICE, RIGHT, ip_address(alike)) is is_one


def test_the_twelve_networks_that_were_used_last_are_known(guesses: Guesses) -> None:
    for number in range(12):
        guesses.right(ALICE, RIGHT, elsewhere(number))
    assert guesses.knows(ALICE, RIGHT, elsewhere(0)), "and is the last one used from now on"
    guesses.right(ALICE, RIGHT, elsewhere(12))
    known = [number for number in range(20) if guesses.knows(ALICE, RIGHT, elsewhere(number))]
    assert known == [0, *range(2, 13)]


def test_of_two_right_ones_the_last_is_known(guesses: Guesses) -> None:
    for fingerprint in (RIGHT, 0, 0xFFF):
        guesses.right(ALICE, fingerprint, HOME)
        known = [one for one in (RIGHT, WRONG, 0, 0xFFF) if guesses.knows(ALICE, one, HOME)]
        assert known == [fingerprint]


def test_another_password_leaves_the_networks_known(guesses: Guesses) -> None:
    guesses.right(ALICE, RIGHT, HOME)
    guesses.right(ALICE, WRONG, AWAY)
    assert guesses.knows(ALICE, WRONG, HOME)


def test_hundreds_of_accounts_are_known_each_by_its_own(guesses: Guesses) -> None:
    fingerprints = {f"u{number}@a.example": number * 37 % 4096 for number in range(300)}
    for user, fingerprint in fingerprints.items():
        guesses.right(user, fingerprint, HOME)
    assert all(guesses.knows(user, fingerprint, HOME) for user, fingerprint in fingerprints.items())
    assert sum(guesses.knows(user, fingerprint ^ 1, HOME) for user, fingerprint in fingerprints.items()) == 0


def test_what_is_in_a_file_outlives_the_program_and_is_shared_by_processes(tmp_path: Path) -> None:
    path = tmp_path / "guesses"
    path.touch()
    ours = Guesses(path)
    ours.right(ALICE, RIGHT, HOME)
    child = os.fork()
    if not child:
        os._exit(checked(ours, 1000.0, 15))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 15
    next_one = Guesses(path)
    assert next_one.knows(ALICE, RIGHT, HOME)
    assert checked(next_one, 1000.0, 15) == 5
    stored = path.read_bytes()
    assert ALICE.encode() not in stored
    assert HOME.packed not in stored
    assert b"192.0" not in stored


class TestHooks:
    @pytest.fixture
    def accounts(self, tmp_path: Path) -> Accounts:
        made = Accounts(open_store(stores.made(tmp_path / "store.sqlite")))
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

    def lookups(
        self,
        to: testing.TestClient,
        number: int,
        user: str,
        fingerprint: str = "0123",
        ip: str = str(HOME),
    ) -> list[int]:
        return [self.ask(to, "lookup", fingerprint, user=user, ip=ip).status_code for _ in range(number)]

    @pytest.mark.parametrize(("user", "checked"), [(ALICE, 200), (NOBODY, 404)])
    def test_the_21st_is_put_off_whether_there_is_an_account_or_not(
        self, to: testing.TestClient, user: str, checked: int
    ) -> None:
        assert self.lookups(to, 22, user) == [checked] * 20 + [429] * 2

    def test_the_password_of_a_login_is_known_from_then_on_where_it_came_from(
        self, to: testing.TestClient
    ) -> None:
        here = {"user": ALICE, "ip": str(HOME)}
        assert self.ask(to, "lookup", "0abc", **here).json["seen"] is False
        assert self.ask(to, "login", "0abc", **here).status_code == 204
        assert self.lookups(to, 30, ALICE)[-1] == 429
        assert self.lookups(to, 30, ALICE, "0abc") == [200] * 30
        assert self.ask(to, "lookup", "0abc", **here).json["seen"] is True
        assert self.lookups(to, 30, ALICE, "0abc", str(AWAY)) == [200] * 20 + [429] * 10

    def test_another_right_password_or_network_of_the_same_day_is_still_to_be_told(
        self, to: testing.TestClient
    ) -> None:
        self.ask(to, "login", "0abc", user=ALICE, ip=str(HOME))
        assert self.ask(to, "lookup", "0def", user=ALICE, ip=str(HOME)).json["seen"] is False
        assert self.ask(to, "lookup", "0abc", user=ALICE, ip=str(AWAY)).json["seen"] is False
        self.ask(to, "login", "0abc", user=ALICE, ip=str(AWAY))
        assert self.ask(to, "lookup", "0abc", user=ALICE, ip=str(AWAY)).json["seen"] is True

    def test_the_password_of_a_first_login_is_known_from_then_on(self, to: testing.TestClient) -> None:
        bob = {"user": BOB, "ip": str(HOME)}
        assert self.ask(to, "create", "0abc", **bob, password="correct horse").status_code == 201
        assert self.ask(to, "create", "0123", **bob, password="wrong horse").status_code == 409
        assert self.lookups(to, 30, BOB, "0abc") == [200] * 30
        assert self.lookups(to, 30, BOB)[-1] == 429

    def test_what_is_no_login_is_no_guess(self, to: testing.TestClient) -> None:
        assert [self.ask(to, "lookup", None, user=ALICE).status_code for _ in range(30)] == [200] * 30
        assert [self.ask(to, "mailbox", None, user=ALICE).status_code for _ in range(30)] == [200] * 30

    @pytest.mark.parametrize("fingerprint", ["", "12", "12345", "xyzw", "12\n4", 12, "0ABC"])
    def test_what_is_no_fingerprint_is_a_400(self, to: testing.TestClient, fingerprint: Any) -> None:
        assert self.ask(to, "lookup", fingerprint, user=ALICE).status_code == 400
