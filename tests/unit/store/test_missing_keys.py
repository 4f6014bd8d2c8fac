"""The store keeps since when a DKIM key record is missing."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, select

from chatmail_milter.store import missing_keys
from chatmail_milter.store.missing_keys import MissingKeys
from chatmail_milter.store.tables import missing_keys as table

HOUR = 3600.0
NOW = 1_800_000_000.0
NAME = "s1._domainkey.b.example."


def test_the_first_time_counts(engine: Engine) -> None:
    assert MissingKeys(engine).missed(NAME, NOW) == NOW
    assert MissingKeys(engine).missed(NAME, NOW + 5) == NOW
    assert MissingKeys(engine).missed(NAME, NOW + 11 * HOUR) == NOW
    assert MissingKeys(engine).missed(NAME, NOW + 22 * HOUR) == NOW
    assert MissingKeys(engine).missed("s2._domainkey.b.example.", NOW + HOUR) == NOW + HOUR


def test_a_record_that_was_not_missed_for_long_was_there(engine: Engine) -> None:
    MissingKeys(engine).missed(NAME, NOW)
    assert MissingKeys(engine).missed(NAME, NOW + 12 * HOUR) == NOW + 12 * HOUR


def test_a_clock_that_was_ahead_is_forgotten(engine: Engine) -> None:
    MissingKeys(engine).missed(NAME, NOW + 1000 * HOUR)
    assert MissingKeys(engine).missed(NAME, NOW) == NOW
    assert MissingKeys(engine).missed(NAME, NOW + HOUR) == NOW


def test_a_flood_of_names_makes_no_old_one_new(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(missing_keys, "MOST", 10)
    names = [f"s{number}._domainkey.b.example." for number in range(12)]
    store = MissingKeys(engine)
    for name in names:
        assert store.missed(name, NOW) == NOW
    assert [store.missed(name, NOW + HOUR) for name in names] == [NOW] * 10 + [NOW + HOUR] * 2
    # Old ones make room.
    assert store.missed("new", NOW + 14 * HOUR) == NOW + 14 * HOUR
    assert store.missed("new", NOW + 15 * HOUR) == NOW + 14 * HOUR


def test_the_store_names_no_peer(engine: Engine) -> None:
    MissingKeys(engine).missed(NAME, NOW)
    with engine.connect() as connection:
        (row,) = connection.execute(select(table)).all()
    assert len(row.name_hash) == 16
    assert b"example" not in row.name_hash
