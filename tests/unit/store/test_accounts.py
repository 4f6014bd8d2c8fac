"""Accounts in the store: one concurrent creation succeeds, and only the days of use are kept."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from sqlalchemy import create_engine

from chatmail_milter import config
from chatmail_milter.accounts import credentials
from chatmail_milter.store.accounts import Account, Accounts
from chatmail_milter.store.engine import open_store
from chatmail_milter.store.existence import StoreAwayError, existence

ALICE, BOB = "alice123@a.example", "bob12345@a.example"
MONDAY, TUESDAY = date(2026, 3, 2), date(2026, 3, 3)


@pytest.fixture
def accounts(url: str) -> Accounts:
    return Accounts(open_store(url), today=lambda: MONDAY)


def test_an_account_is_remembered_with_the_day_it_was_made(accounts: Accounts) -> None:
    assert accounts.lookup(ALICE) is None
    assert accounts.create(ALICE, "{X}hash")
    assert accounts.lookup(ALICE) == Account(ALICE, "{X}hash", created=MONDAY, last_login=None)


def test_an_account_is_made_once_and_keeps_its_first_password(accounts: Accounts) -> None:
    assert accounts.create(ALICE, "{X}first")
    assert not accounts.create(ALICE, "{X}second")
    account = accounts.lookup(ALICE)
    assert account is not None
    assert account.password_hash == "{X}first"


def test_of_ten_at_once_one_makes_the_account(accounts: Accounts) -> None:
    with ThreadPoolExecutor(10) as pool:
        made = list(pool.map(lambda i: accounts.create(ALICE, f"{{X}}{i}"), range(10)))
    assert made.count(True) == 1
    account = accounts.lookup(ALICE)
    assert account is not None
    assert account.password_hash == f"{{X}}{made.index(True)}"


def test_logins_are_kept_by_day_and_never_go_back(accounts: Accounts) -> None:
    accounts.create(ALICE, "{X}")
    for day in (MONDAY, TUESDAY, MONDAY):
        assert accounts.touch(ALICE, day)
    account = accounts.lookup(ALICE)
    assert account is not None
    assert account.last_login == TUESDAY
    assert not accounts.touch(BOB, MONDAY)


def test_accounts_are_listed_by_address_and_deleted_one_by_one(accounts: Accounts) -> None:
    for one in (BOB, ALICE):
        accounts.create(one, "{X}")
    assert [account.address for account in accounts.list()] == [ALICE, BOB]
    assert accounts.delete(ALICE)
    assert not accounts.delete(ALICE)
    assert [account.address for account in accounts.list()] == [BOB]


class TestRegistration:
    RULES = config.AccountSettings()

    @pytest.mark.parametrize("user", ["alice123@a.example", "a.b-c_d12@a.example", "_underscore@a.example"])
    def test_names_that_may_be(self, user: str) -> None:
        assert credentials.refuse(self.RULES, "a.example", user, "123456789") is None

    @pytest.mark.parametrize(
        "user",
        [
            "",
            "@",
            "alice123",
            "alice123@b.example",
            "alice123@A.example",
            "alice123@a.example@b.example",
            "alice123@sub.a.example",
            "Alice123@a.example",
            "short12@a.example",
            "x" * 21 + "@a.example",
            "x" * 100_000 + "@a.example",
            "alice%12@a.example",
            'al"ice12@a.example',
            "al'ice12@a.example",
            "alice 12@a.example",
            "alice/12@a.example",
            "alice+12@a.example",
            "alice\n12@a.example",
            "../../../etc@a.example",
            "..alice12@a.example",
            ".alice12@a.example",
            "alice..12@a.example",
            "alice123.@a.example",
            "-alice12@a.example",
            "älice123@a.example",
            "postmaster@a.example",
            "mailer-daemon@a.example",
            "double-bounce@a.example",
        ],
    )
    def test_names_that_may_not(self, user: str) -> None:
        reason = credentials.refuse(self.RULES, "a.example", user, "123456789")
        assert reason
        assert reason.isascii()

    @pytest.mark.parametrize("password", ["", "12345678", "x" * 257, "x" * 1_000_000, "1234\x005678"])
    def test_passwords_that_may_not(self, password: str) -> None:
        assert credentials.refuse(self.RULES, "a.example", ALICE, password)

    def test_the_limits_are_the_configured_ones(self) -> None:
        rules = config.AccountSettings(local_part_min=2, local_part_max=3, password_min=1)
        assert credentials.refuse(rules, "a.example", "abc@a.example", "x") is None
        assert credentials.refuse(rules, "a.example", "abcd@a.example", "x")

    def test_an_address_literal_is_a_domain_like_any_other(self) -> None:
        assert credentials.refuse(self.RULES, "[1.2.3.4]", "alice123@[1.2.3.4]", "123456789") is None
        assert credentials.refuse(self.RULES, "[1.2.3.4]", "alice123@1.2.3.4", "123456789")


class TestCredentials:
    def test_a_hash_is_in_dovecots_form_and_verifies(self) -> None:
        scheme, _, encoded = credentials.hash_password("correct horse").rpartition("}")
        assert scheme == "{ARGON2ID"
        assert encoded.startswith("$argon2id$v=19$m=4096,t=2,p=1$")
        assert PasswordHasher().verify(encoded, "correct horse")

    @pytest.mark.parametrize(
        "rules",
        [
            config.AccountSettings(),
            config.AccountSettings(local_part_min=12),
            config.AccountSettings(local_part_min=1, local_part_max=4),
        ],
    )
    def test_fresh_credentials_may_have_an_account_and_differ(self, rules: config.AccountSettings) -> None:
        made = [credentials.fresh(rules, "a.example") for _ in range(200)]
        assert {credentials.refuse(rules, "a.example", one.address, one.password) for one in made} == {None}
        assert len({one.password for one in made}) == 200


def file_of(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


@pytest.mark.parametrize("by_driver", [pytest.param(True, marks=pytest.mark.sqlite), False])
def test_whether_there_is_an_account_is_said_as_lookup_says_it(
    accounts: Accounts, url: str, by_driver: bool
) -> None:
    file_of(url).touch()  # On PostgreSQL there is none, and it is looked for first.
    has = existence(url, file_of(url) if by_driver else None)
    assert not has(ALICE)
    accounts.create(ALICE, "{X}hash")
    assert (has(ALICE), has(BOB), has("ALICE123@a.example"), has("")) == (True, False, False, False)
    accounts.delete(ALICE)
    assert not has(ALICE)


@pytest.mark.sqlite
def test_a_store_that_is_missing_or_empty_is_away_until_it_is_made(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.sqlite"
    has = existence(url, file_of(url))
    with pytest.raises(StoreAwayError, match=r"\AOperationalError\Z"):
        has(ALICE)
    assert not file_of(url).exists()
    file_of(url).touch()
    with pytest.raises(StoreAwayError):
        has(ALICE)
    Accounts(open_store(url)).create(ALICE, "{X}hash")
    assert has(ALICE)


def test_a_store_of_another_kind_that_is_missing_is_away(tmp_path: Path) -> None:
    with pytest.raises(StoreAwayError, match=r"\AStoreError\Z"):
        existence(f"sqlite:///{tmp_path}/none.sqlite", None)(ALICE)


@pytest.mark.sqlite
def test_whoever_asks_whether_there_is_an_account_holds_up_no_checkpoint(
    accounts: Accounts, url: str
) -> None:
    accounts.create(ALICE, "{X}hash")
    has = existence(url, file_of(url))
    assert has(ALICE)
    accounts.create(BOB, "{X}hash")
    with create_engine(url).connect() as connection:
        assert connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()[0] == 0
    assert has(BOB)
