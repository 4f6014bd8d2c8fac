"""Tokens create a limited number of accounts until they expire, also when used concurrently."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import pytest

from chatmail_milter.store.accounts import Accounts
from chatmail_milter.store.engine import open_store
from chatmail_milter.store.tokens import Tokens
from tests.unit.clock import Clock

MONDAY = date(2026, 3, 2)
HASH = "{X}hash"


@pytest.fixture
def clock() -> Clock:
    return Clock(1000.0)


@pytest.fixture
def tokens(url: str, clock: Clock) -> Tokens:
    return Tokens(open_store(url), lambda: MONDAY, clock)


def test_a_token_makes_as_many_accounts_as_it_has_uses(tokens: Tokens, url: str) -> None:
    token, kept = tokens.create(2, None)
    made = [tokens.redeem(token, f"alice00{i}@a.test", HASH) for i in range(3)]
    assert made == ["made", "made", "spent"]
    assert [one.address for one in Accounts(open_store(url)).list()] == ["alice000@a.test", "alice001@a.test"]
    [row] = tokens.list()
    assert (row.id, row.uses, row.used, row.created) == (kept.id, 2, 2, MONDAY)
    assert row.spent(0)
    assert not tokens.usable(token)


def test_without_a_number_of_uses_it_is_never_used_up(tokens: Tokens) -> None:
    token, _ = tokens.create(None, None)
    assert {tokens.redeem(token, f"alice0{i:02}@a.test", HASH) for i in range(20)} == {"made"}
    assert not tokens.list()[0].spent(1e12)


def test_a_token_is_over_when_its_time_is(tokens: Tokens, clock: Clock) -> None:
    token, kept = tokens.create(None, 60.0)
    assert kept.expires == 1060.0
    clock.now = 1059.9
    assert tokens.usable(token)
    clock.now = 1060.0
    assert not tokens.usable(token)
    assert tokens.redeem(token, "alice000@a.test", HASH) == "spent"
    assert tokens.list()[0].spent(clock.now)


def test_an_address_that_is_there_costs_no_use_and_keeps_its_password(tokens: Tokens, url: str) -> None:
    accounts = Accounts(open_store(url))
    accounts.create("alice000@a.test", "{X}first")
    token, _ = tokens.create(1, None)
    assert tokens.redeem(token, "alice000@a.test", HASH) == "exists"
    assert tokens.list()[0].used == 0
    account = accounts.lookup("alice000@a.test")
    assert account is not None
    assert account.password_hash == "{X}first"


def test_of_ten_at_once_as_many_get_an_account_as_there_are_uses(tokens: Tokens, url: str) -> None:
    token, _ = tokens.create(3, None)
    with ThreadPoolExecutor(10) as pool:
        made = list(pool.map(lambda i: tokens.redeem(token, f"alice00{i}@a.test", HASH), range(10)))
    assert (made.count("made"), made.count("spent")) == (3, 7)
    assert len(Accounts(open_store(url)).list()) == 3


@pytest.mark.parametrize("guess", ["", "x", "%", "_" * 24, "\ud800", "é" * 1000, "x" * 100_000])
def test_what_is_no_token_makes_nothing(tokens: Tokens, url: str, guess: str) -> None:
    tokens.create(None, None)
    assert not tokens.usable(guess)
    assert tokens.redeem(guess, "alice000@a.test", HASH) == "spent"
    assert not tokens.revoke(guess)
    assert Accounts(open_store(url)).list() == ()


def test_a_token_is_revoked_by_itself_or_by_its_id_and_no_other_with_it(tokens: Tokens) -> None:
    first, _ = tokens.create(None, None)
    second, kept = tokens.create(None, None)
    third, _ = tokens.create(None, None)
    assert tokens.revoke(first)
    assert tokens.revoke(kept.id)
    assert not tokens.revoke(kept.id)
    assert [tokens.usable(one) for one in (first, second, third)] == [False, False, True]


@pytest.mark.sqlite
def test_the_store_does_not_hold_what_would_make_an_account(tokens: Tokens, tmp_path: Path) -> None:
    token, kept = tokens.create(5, 60.0)
    assert len(token) == 24
    assert token.isalnum()
    assert len(kept.id) == 8
    octets = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert kept.id.encode() in octets
    assert token.encode() not in octets
