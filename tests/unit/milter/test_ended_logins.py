"""Logins end by the store's revisions of their account, and after the longest session."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.exc import OperationalError

from chatmail_milter import codes
from chatmail_milter.gate.gate import Direction
from chatmail_milter.milter.admission import AdmissionControl
from chatmail_milter.processes.ratelimit import Limiter, Rate
from chatmail_milter.store.accounts import Accounts
from chatmail_milter.store.fault import StoreError
from chatmail_milter.store.policies import Blocks, Policies
from chatmail_milter.store.revision import forget_ended_sessions, wait_for_caches_to_expire
from chatmail_milter.store.tables import ended_logins
from chatmail_milter.verdict import Verdict
from tests.unit.clock import Clock

ALICE, BOB = "alice123@a.test", "bob12345@a.test"
TODAY = date(2026, 3, 2)
OUT, IN = Direction.OUT, Direction.IN


@pytest.fixture
def accounts(engine: Engine) -> Accounts:
    accounts = Accounts(engine, today=lambda: TODAY)
    for one in (ALICE, BOB):
        accounts.create(one, "{X}")
    return accounts


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def door(engine: Engine, clock: Clock) -> AdmissionControl:
    return AdmissionControl(lambda: Policies(engine), Limiter(Rate(0, 1)), clock=clock)


def told(door: AdmissionControl, user: str, beginning: object) -> Verdict:
    return door.admit(OUT, user, None, beginning).verdict  # type: ignore[arg-type]


def test_a_session_from_before_is_over_and_one_from_after_is_not(
    door: AdmissionControl, accounts: Accounts
) -> None:
    before = door.begin()
    assert accounts.set_password(ALICE, "{Y}")
    after = door.begin()
    assert [told(door, ALICE, one) for one in (before, after)] == [codes.LOGIN_OVER, codes.PASS]
    assert door.readmit(ALICE, None, before) == codes.LOGIN_OVER
    assert door.readmit(ALICE, None, after) == codes.PASS
    assert told(door, BOB, before) == codes.PASS
    assert door.admit(IN, ALICE, None, before).verdict == codes.PASS


def test_a_later_change_of_something_else_ends_nothing(
    door: AdmissionControl, accounts: Accounts, engine: Engine
) -> None:
    accounts.set_password(ALICE, "{Y}")
    beginning = door.begin()
    Blocks(engine).add(["eve@b.test"])
    assert told(door, ALICE, beginning) == codes.PASS
    accounts.set_password(BOB, "{Y}")
    assert told(door, ALICE, beginning) == codes.PASS
    assert told(door, BOB, beginning) == codes.LOGIN_OVER


def test_nothing_is_over_where_nothing_changed(door: AdmissionControl, accounts: Accounts) -> None:
    beginning = door.begin()
    assert not accounts.set_password("carol123@a.test", "{Y}")
    assert not accounts.delete("carol123@a.test")
    assert not accounts.delete(ALICE, unused_since=TODAY)
    with pytest.raises(PermissionError):
        accounts.delete(ALICE, beforehand=_denied)
    wait_for_caches_to_expire()
    assert told(door, ALICE, beginning) == codes.PASS


def _denied() -> None:
    raise PermissionError


@pytest.mark.parametrize("unused_since", [None, TODAY + timedelta(days=1)], ids=["deleted", "expired"])
def test_with_an_account_go_its_sessions(
    door: AdmissionControl, accounts: Accounts, unused_since: date | None
) -> None:
    beginning = door.begin()
    assert accounts.delete(ALICE, unused_since=unused_since)
    wait_for_caches_to_expire()
    assert told(door, ALICE, beginning) == codes.LOGIN_OVER


def test_a_session_of_more_than_twelve_hours_has_to_log_in_anew(door: AdmissionControl, clock: Clock) -> None:
    beginning = door.begin()
    clock.now += 12 * 3600
    assert told(door, ALICE, beginning) == codes.PASS
    clock.now += 1
    assert told(door, ALICE, beginning) == codes.LOGIN_OLD
    assert door.readmit(ALICE, None, beginning) == codes.LOGIN_OLD
    # Peers keep connections for as long as they want.
    assert door.admit(IN, "eve@b.test", None, beginning).verdict == codes.PASS
    assert told(door, ALICE, door.begin()) == codes.PASS


def test_where_the_store_was_away_only_those_log_in_anew_whose_password_changed_of_late(
    engine: Engine, accounts: Accounts
) -> None:
    def opened() -> Policies:
        if away:
            raise OperationalError("SELECT", None, Exception("away"))
        return Policies(engine)

    away = True
    door = AdmissionControl(opened, Limiter(Rate(0, 1)))
    beginning = door.begin()
    assert told(door, ALICE, beginning) == codes.STORE_AWAY
    accounts.set_password(ALICE, "{Y}")
    away = False
    assert told(door, ALICE, beginning) == codes.LOGIN_OVER
    assert told(door, BOB, beginning) == codes.PASS


@pytest.mark.parametrize(
    "change", [lambda one: one.set_password(ALICE, "{Y}"), lambda one: one.delete(ALICE)]
)
def test_nothing_changes_without_the_key(
    accounts: Accounts, change: Callable[[Accounts], object], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CHATMAIL_NAMES_KEY", str(tmp_path / "missing"))
    with pytest.raises(StoreError, match="which makes the key"):
        change(accounts)
    found = accounts.lookup(ALICE)
    assert found is not None
    assert found.password_hash == "{X}"


def test_the_store_forgets_them_after_two_days(engine: Engine, accounts: Accounts) -> None:
    accounts.set_password(ALICE, "{Y}")
    with engine.connect() as connection:
        [(name, number, day)] = connection.execute(select(ended_logins)).all()
    assert (number, day) == (1, TODAY)
    assert "alice" not in name
    assert forget_ended_sessions(engine, TODAY + timedelta(days=2)) == 0
    assert forget_ended_sessions(engine, TODAY + timedelta(days=3)) == 1
