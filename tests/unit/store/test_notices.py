"""Device tokens and pending notices in the store."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine

from chatmail_milter.store.accounts import Accounts
from chatmail_milter.store.engine import open_store
from chatmail_milter.store.push import MOST, DeviceTokens, Notice, Notices, digest
from tests import stores

ALICE, BOB = "alice123@a.example", "bob12345@a.example"
MONDAY = date(2026, 3, 2)
LIFETIME = timedelta(days=90)


class Calendar:
    """Today, which a test can move."""

    def __init__(self) -> None:
        self.day = MONDAY

    def __call__(self) -> date:
        return self.day


@pytest.fixture
def calendar() -> Calendar:
    return Calendar()


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    engine = open_store(stores.made(tmp_path / "store.sqlite"))
    for one in (ALICE, BOB):
        assert Accounts(engine).create(one, "{PLAIN}x")
    return engine


@pytest.fixture
def tokens(engine: Engine, calendar: Calendar) -> DeviceTokens:
    return DeviceTokens(engine, LIFETIME, calendar)


@pytest.fixture
def notices(engine: Engine) -> Notices:
    return Notices(engine)


def add(notices: Notices, address: str, now: float = 100.0, oldest: date = MONDAY - LIFETIME) -> int:
    return notices.add(address, now, oldest)


def take(notices: Notices, now: float = 100.0) -> Notice:
    notice = notices.take(now, now + 30)
    assert notice is not None
    return notice


def test_an_account_has_several_tokens_each_once(tokens: DeviceTokens) -> None:
    for token in ("one", "two", "one"):
        assert tokens.add(ALICE, token)
    assert sorted(tokens.of(ALICE)) == ["one", "two"]
    assert tokens.of(BOB) == []


def test_a_token_is_used_for_ninety_days_after_it_was_last_given(
    tokens: DeviceTokens, notices: Notices, calendar: Calendar
) -> None:
    tokens.add(ALICE, "old")
    tokens.add(ALICE, "kept")
    calendar.day += timedelta(days=60)
    tokens.add(ALICE, "kept")
    calendar.day = MONDAY + timedelta(days=90)
    assert sorted(tokens.of(ALICE)) == ["kept", "old"]
    calendar.day += timedelta(days=1)
    assert tokens.of(ALICE) == ["kept"]
    assert add(notices, ALICE, oldest=calendar.day - LIFETIME) == 1
    assert tokens.forget_old() == 1
    assert tokens.forget_old() == 0


def test_what_is_too_many_pushes_out_what_was_given_longest_ago(
    tokens: DeviceTokens, calendar: Calendar
) -> None:
    for number in range(MOST + 3):
        calendar.day = MONDAY + timedelta(days=number)
        tokens.add(ALICE, f"token{number}")
    assert tokens.of(ALICE) == [f"token{number}" for number in range(MOST + 2, 2, -1)]


def test_what_is_too_many_on_one_day_leaves_the_new_one(tokens: DeviceTokens) -> None:
    for number in range(3 * MOST):
        tokens.add(ALICE, f"token{number}")
        assert f"token{number}" in tokens.of(ALICE)
    assert len(tokens.of(ALICE)) == MOST


def test_nobody_has_no_token(tokens: DeviceTokens) -> None:
    assert not tokens.add("nobody12@a.example", "one")
    assert tokens.of("nobody12@a.example") == []


def test_an_account_takes_tokens_and_notices_with_it(
    engine: Engine, tokens: DeviceTokens, notices: Notices
) -> None:
    for one in (ALICE, BOB):
        tokens.add(one, "shared")
        add(notices, one)
    assert Accounts(engine).delete(ALICE)
    assert tokens.of(ALICE) == []
    assert notices.count() == 1
    assert take(notices).address == BOB


def test_a_token_that_is_gone_is_gone_everywhere_with_its_notices(
    tokens: DeviceTokens, notices: Notices
) -> None:
    for one in (ALICE, BOB):
        tokens.add(one, "shared")
        add(notices, one)
    tokens.add(BOB, "other")
    tokens.forget(digest("shared"))
    assert (tokens.of(ALICE), tokens.of(BOB), notices.count()) == ([], ["other"], 0)


def test_all_tokens_of_an_account_can_be_forgotten(tokens: DeviceTokens, notices: Notices) -> None:
    tokens.add(ALICE, "one")
    tokens.add(BOB, "two")
    add(notices, ALICE)
    tokens.forget_all(ALICE)
    assert (tokens.of(ALICE), tokens.of(BOB), notices.count()) == ([], ["two"], 0)


def test_mail_for_somebody_without_tokens_is_no_notice(notices: Notices) -> None:
    assert add(notices, ALICE) == 0
    assert notices.take(100, 130) is None
    assert notices.next_due() is None


def test_much_mail_is_one_notice_for_each_token(tokens: DeviceTokens, notices: Notices) -> None:
    for token in ("one", "two"):
        tokens.add(ALICE, token)
    assert [add(notices, ALICE, now) for now in (100.0, 101.0, 102.0)] == [2, 2, 2]
    assert notices.count() == 2
    found = [take(notices, 103), take(notices, 103)]
    assert sorted((one.token, one.mails, one.tries, one.since) for one in found) == [
        ("one", 3, 0, 100.0),
        ("two", 3, 0, 100.0),
    ]


def test_who_takes_a_notice_has_it_alone_and_not_for_ever(tokens: DeviceTokens, notices: Notices) -> None:
    tokens.add(ALICE, "one")
    add(notices, ALICE)
    assert notices.take(100, 130) is not None
    assert notices.take(129, 160) is None
    assert notices.next_due() == 130
    assert notices.take(130, 160) is not None


def test_settled_is_gone(tokens: DeviceTokens, notices: Notices) -> None:
    tokens.add(ALICE, "one")
    add(notices, ALICE)
    notices.settle(take(notices), 101, 103)
    assert notices.count() == 0


def test_mail_that_comes_while_a_notice_is_on_its_way_is_told_too(
    tokens: DeviceTokens, notices: Notices
) -> None:
    tokens.add(ALICE, "one")
    add(notices, ALICE)
    taken = take(notices)
    add(notices, ALICE, 101)
    notices.settle(taken, 102, 104)
    assert notices.next_due() == 104
    again = take(notices, 104)
    assert (again.mails, again.tries, again.since) == (2, 0, 102)


def test_what_failed_waits_behind_what_is_new(tokens: DeviceTokens, notices: Notices) -> None:
    tokens.add(ALICE, "one")
    tokens.add(BOB, "two")
    add(notices, ALICE)
    notices.put_off(take(notices), 105)
    assert notices.take(104, 134) is None
    add(notices, BOB, 106)
    assert take(notices, 107).address == BOB
    failed = take(notices, 107)
    assert (failed.address, failed.tries, failed.since) == (ALICE, 1, 100)


def test_new_mail_does_not_hurry_what_failed(tokens: DeviceTokens, notices: Notices) -> None:
    tokens.add(ALICE, "one")
    add(notices, ALICE)
    notices.put_off(take(notices), 500)
    add(notices, ALICE, 200)
    assert notices.next_due() == 500


def test_notices_outlive_the_program(tmp_path: Path, tokens: DeviceTokens, notices: Notices) -> None:
    tokens.add(ALICE, "one")
    add(notices, ALICE)
    assert take(Notices(open_store(stores.made(tmp_path / "store.sqlite")))).token == "one"
