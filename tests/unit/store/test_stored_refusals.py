"""Refusals of recipients are stored for a day, and without the address."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from sqlalchemy import Engine

from chatmail_milter.store import pseudonyms
from chatmail_milter.store.pseudonyms import load_key, pseudonym
from chatmail_milter.store.refusals import RECIPIENT, Refusal, Refusals, forget_old
from mxdeliv_app.stats.recorder import StatsRecorder
from tests.unit.clock import Clock

CAROL, DAVE = "carol123@b.test", "dave1234@b.test"
DAY = 86400.0
UNKNOWN = Refusal(550, "5.1.1", "User unknown")
FULL = Refusal(552, "5.2.2", f"<{RECIPIENT}> is full")
KEY = b"k" * 32


class Times:
    """POSIX time, and a monotonic clock that goes with it."""

    def __init__(self) -> None:
        self.now, self.clock = 2_000_000_000.0, Clock()

    def go(self, seconds: float) -> None:
        self.now += seconds
        self.clock.now += seconds


@pytest.fixture
def times() -> Times:
    return Times()


def opened(engine: Engine, times: Times, key: bytes = KEY) -> Refusals:
    """As another process opens it."""
    return Refusals(engine, key, lambda: times.now, times.clock)


def test_a_refusal_is_known_for_a_day(engine: Engine, times: Times) -> None:
    refusals = opened(engine, times)
    assert refusals.of(CAROL) is None
    refusals.remember(CAROL, UNKNOWN)
    refusals.remember(DAVE, FULL)
    assert (refusals.of(CAROL), refusals.of(DAVE)) == (UNKNOWN, FULL)
    times.go(DAY - 1)
    assert refusals.of(CAROL) == UNKNOWN
    times.go(1)
    assert refusals.of(CAROL) is None


def test_the_last_one_counts(engine: Engine, times: Times) -> None:
    refusals = opened(engine, times)
    refusals.remember(CAROL, UNKNOWN)
    times.go(DAY / 2)
    refusals.remember(CAROL, FULL)
    times.go(DAY - 1)
    assert refusals.of(CAROL) == FULL


def test_what_was_said_more_than_a_day_ago_is_not_taken_up(engine: Engine, times: Times) -> None:
    # A journal that is read late.
    refusals = opened(engine, times)
    refusals.remember(CAROL, UNKNOWN, at=times.now - DAY)
    assert refusals.of(CAROL) is None
    refusals.remember(CAROL, UNKNOWN, at=times.now - DAY / 2)
    times.go(DAY / 2)
    assert refusals.of(CAROL) is None


def test_who_writes_or_takes_mail_is_forgotten_in_every_process(engine: Engine, times: Times) -> None:
    relay, milter = opened(engine, times), opened(engine, times)
    assert not milter.forget(CAROL)
    for _ in range(3):
        relay.remember(CAROL, UNKNOWN)
        relay.remember(DAVE, UNKNOWN)
        times.go(0.05)
        assert milter.forget(CAROL)
        assert not milter.forget(CAROL)
        assert relay.of(CAROL) is None
        assert milter.of(DAVE) == UNKNOWN


def test_of_whom_nothing_is_known_no_question_is_asked(engine: Engine, times: Times) -> None:
    asked: list[str] = []
    refusals = opened(engine, times)
    refusals.remember(CAROL, UNKNOWN)
    refusals.of(DAVE)
    with engine.connect() as connection:
        connection.exec_driver_sql("DROP TABLE recipient_refusals")
        connection.commit()
    for number in range(1000):
        asked.append(f"other{number}@b.test")
        assert not refusals.forget(asked[-1])
        assert refusals.of(asked[-1]) is None


@pytest.mark.sqlite
def test_the_store_holds_no_address_and_nothing_that_can_be_found_from_one(
    tmp_path: Path, engine: Engine, times: Times
) -> None:
    opened(engine, times).remember(CAROL, FULL)
    engine.dispose()
    stored = b"".join(one.read_bytes() for one in tmp_path.glob("store.sqlite*"))
    assert b"is full" in stored
    for word in (b"carol123", b"b.test"):
        assert word not in stored
    # With another key it is another's.
    assert opened(engine, times, b"x" * 32).of(CAROL) is None
    assert opened(engine, times).of(CAROL) == FULL


def test_old_ones_go_and_so_do_too_many(engine: Engine, times: Times) -> None:
    refusals = opened(engine, times)
    refusals.remember(CAROL, UNKNOWN)
    times.go(DAY)
    refusals.remember(DAVE, UNKNOWN)
    assert forget_old(engine, times.now) == 1
    for number in range(9):
        refusals.remember(f"other{number}@b.test", UNKNOWN)
    assert forget_old(engine, times.now, most=4) == 6
    assert refusals.of(DAVE) is None
    assert [refusals.of(f"other{number}@b.test") is None for number in range(9)] == [True] * 5 + [False] * 4


def test_the_relay_forgets_what_is_too_old(engine: Engine) -> None:
    refusals = Refusals(engine, KEY, now=lambda: time.time() - DAY)
    refusals.remember(CAROL, UNKNOWN)
    StatsRecorder(engine, dict, 30.0).flush()
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM recipient_refusals").scalar_one() == 0


# printf carol123@b.test | openssl dgst -sha256 -mac HMAC -macopt key:kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk
def test_a_pseudonym_is_an_hmac() -> None:
    assert pseudonym(KEY, CAROL) == "a8d3f4270dd84775e26bddf82a5ac3c7"


def test_the_key_is_read_from_a_file_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "store.key"
    file.write_text("6b" * 32 + "\n")
    monkeypatch.setenv("CHATMAIL_STORE_KEY", str(file))
    assert load_key() == b"6b" * 32
    assert str(pseudonyms.KEY_FILE) == "/etc/chatmail/store.key"


@pytest.mark.parametrize("content", [None, "", "short\n"])
def test_without_a_good_key_there_is_one_for_this_process_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    file = tmp_path / "store.key"
    if content is not None:
        file.write_text(content)
    monkeypatch.setenv("CHATMAIL_STORE_KEY", str(file))
    first, second = load_key(), load_key()
    assert len(first) >= 32
    assert first != second
