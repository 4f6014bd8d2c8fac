"""Counts of peers in the store: sums, lifetime, and stores of earlier schemas."""

from __future__ import annotations

import sqlite3
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, func, select

from chatmail_milter.store.contacts import Contact, Road
from chatmail_milter.store.engine import open_store
from chatmail_milter.store.peer_trouble import last_errors
from chatmail_milter.store.peers import PeerRow, Peers
from chatmail_milter.store.tables import peer_errors, peer_failures, peer_latencies
from tests import stores

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def peers(engine: Engine) -> Peers:
    return Peers(engine)


def took(seconds: float | None, domain: str = "b.test", road: Road = "https", at: datetime = NOON) -> Contact:
    return Contact(domain, road, True, seconds, None, at)


def failed(
    reason: str, domain: str = "b.test", road: Road = "https", at: datetime = NOON, words: str = ""
) -> Contact:
    return Contact(domain, road, False, None, reason, at, words=words)


def rows(engine: Engine) -> dict[tuple[str, str], PeerRow]:
    return {(row.domain, row.road): row for row in Peers(engine).list()}


def test_latency_is_of_successes_alone(peers: Peers) -> None:
    slow = Contact("b.test", "https", False, 30.0, "timeout", NOON)
    peers.add([took(0.2), took(0.4), took(None), slow])
    (row,) = peers.list()
    assert (row.attempts, row.successes, row.failures) == (4, 3, 1)
    assert row.mean_latency == pytest.approx(0.3)
    assert row.p50_latency == pytest.approx(0.2, rel=0.091)
    assert row.p95_latency == pytest.approx(0.4, rel=0.091)
    assert row.reasons == {"timeout": 1}


def test_no_success_is_no_latency(peers: Peers) -> None:
    peers.add([failed("connect", road="smtp")])
    (row,) = peers.list()
    assert (row.mean_latency, row.p50_latency, row.p95_latency) == (None, None, None)


def test_roads_are_counted_apart(peers: Peers, engine: Engine) -> None:
    peers.add([took(None, road="inbound"), failed("tls", at=NOON + timedelta(hours=1))])
    by_road = rows(engine)
    assert by_road["b.test", "inbound"].successes == 1
    assert by_road["b.test", "https"].successes == 0
    assert by_road["b.test", "https"].last_contact == NOON + timedelta(hours=1)


def test_counts_of_several_writers_are_added(engine: Engine) -> None:
    if engine.dialect.name == "sqlite":
        # The writers wait for each other: on a busy machine longer than a program would.
        engine.dispose()
        event.listen(engine, "connect", lambda opened, _: opened.execute("PRAGMA busy_timeout = 120000"))

    def count() -> None:
        for _ in range(25):
            Peers(engine).add([failed("connect"), took(0.1), took(0.1, "c.test")])

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    row = rows(engine)["b.test", "https"]
    assert (row.attempts, row.successes, row.reasons) == (200, 100, {"connect": 100})
    with engine.connect() as connection:
        assert connection.execute(select(func.sum(peer_latencies.c.successes))).scalar_one() == 200


def test_a_readers_mark_is_kept_with_its_counts(peers: Peers, engine: Engine) -> None:
    assert peers.mark("log") is None
    peers.add([took(0.1, road="smtp")], reader="log", mark="line 7")
    assert Peers(engine).mark("log") == "line 7"
    with pytest.raises(AttributeError):
        peers.add([None], reader="log", mark="line 8")  # type: ignore[list-item]
    assert peers.mark("log") == "line 7"


def test_a_failure_that_was_none_is_taken_back(peers: Peers) -> None:
    peers.add([failed("smtp-5yz", road="smtp"), failed("connect", road="smtp")])
    peers.add([Contact("b.test", "smtp", True, 0.1, None, NOON, instead_of="smtp-5yz")])
    (row,) = peers.list()
    assert (row.attempts, row.successes, row.reasons) == (2, 1, {"connect": 1})


def test_refusals_make_no_names(peers: Peers, engine: Engine) -> None:
    def refused(domain: str) -> Contact:
        return Contact(domain, "inbound", False, None, "dkim-none", NOON, claimed=True)

    peers.add([refused(f"{number}.evil.test") for number in range(50)] + [refused("")])
    assert {key: row.attempts for key, row in rows(engine).items()} == {("(unproven)", "inbound"): 51}
    peers.add([took(0.1)])
    peers.add([refused("b.test"), refused("c.test"), took(0.1, "c.test", "inbound")])
    found = rows(engine)
    assert found["b.test", "inbound"].failures == 1, "our users write to it: it is a peer"
    assert (found["c.test", "inbound"].failures, found["c.test", "inbound"].successes) == (1, 1)


class TestNamesThatMailIsRefusedUnder:
    """For want of proof: the operator sees them, and no flood of them hides or outlives anything."""

    @staticmethod
    def refused(domain: str, at: datetime = NOON, *, named: bool = True) -> Contact:
        return Contact(domain, "inbound", False, None, "dkim-none", at, claimed=True, named=named)

    def test_they_are_seen_with_the_reason(self, peers: Peers, engine: Engine) -> None:
        peers.add([self.refused("b.test"), self.refused("b.test"), self.refused("")])
        peers.add([self.refused("b.test")])
        found = rows(engine)
        assert (found["b.test", "inbound"].failures, found["b.test", "inbound"].reasons) == (
            3,
            {"dkim-none": 3},
        )
        assert found["(unproven)", "inbound"].failures == 1

    def test_to_be_seen_is_no_proof(self, peers: Peers, engine: Engine) -> None:
        peers.add([self.refused("b.test")])
        peers.add([self.refused("b.test", named=False)])
        assert rows(engine)["b.test", "inbound"].failures == 1
        assert rows(engine)["(unproven)", "inbound"].failures == 1

    def test_they_are_few(self, peers: Peers, engine: Engine) -> None:
        peers.add([took(0.1, "known.test", "inbound")])
        peers.add([self.refused(f"{number}.evil.test") for number in range(400)])
        peers.add([self.refused(f"{number}.evil.test") for number in range(300, 600)])
        peers.add([self.refused("known.test")])
        found = rows(engine)
        assert len(found) == 500 + 2
        assert found["(unproven)", "inbound"].failures == 100
        assert found["known.test", "inbound"].failures == 1

    def test_they_make_room_after_a_week(self, peers: Peers, engine: Engine) -> None:
        peers.add([self.refused("old.test", NOON - timedelta(days=8)), self.refused("b.test")])
        peers.add([took(0.1, "known.test", "inbound", at=NOON - timedelta(days=8))])
        assert peers.forget_old(NOON) == 1
        assert {domain for domain, _ in rows(engine)} == {"b.test", "known.test"}


class TestErrors:
    def test_the_last_five_of_each_road_are_kept(self, peers: Peers, engine: Engine) -> None:
        peers.add([failed("connect", words=f"first {number}") for number in range(9)])
        for number in range(9):
            at = NOON + timedelta(minutes=number)
            peers.add([failed("smtp-4yz", road="smtp", words=f"then {number}", at=at)])
        found = last_errors(engine, "b.test", NOON)
        assert [one.words for one in found if one.road == "smtp"] == [f"then {n}" for n in (8, 7, 6, 5, 4)]
        assert [one.words for one in found if one.road == "https"] == [f"first {n}" for n in (8, 7, 6, 5, 4)]
        assert found[0].at == NOON + timedelta(minutes=8)
        with engine.connect() as connection:
            assert connection.execute(select(func.count()).select_from(peer_errors)).scalar_one() == 10

    def test_they_live_no_longer_than_the_journal(self, peers: Peers, engine: Engine) -> None:
        peers.add(
            [failed("connect", words="old"), failed("connect", words="new", at=NOON + timedelta(days=1))]
        )
        later = NOON + timedelta(days=3, seconds=1)
        assert [one.words for one in last_errors(engine, "b.test", later)] == ["new"]
        peers.forget_old(later)
        assert [one.words for one in last_errors(engine, "b.test", NOON)] == ["new"]

    def test_of_what_peers_bring_the_words_are_ours(self, peers: Peers, engine: Engine) -> None:
        peers.add([failed("dkim-none", road="inbound")])
        assert last_errors(engine, "b.test", NOON) == []


class TestForgetting:
    def test_peers_not_heard_of_for_a_season_are_forgotten_with_all_their_rows(
        self, peers: Peers, engine: Engine
    ) -> None:
        long_ago = NOON - timedelta(days=91)
        peers.add([took(0.1, "old.test", at=long_ago), failed("connect", "old.test", at=long_ago)])
        peers.add([took(0.1, at=NOON - timedelta(days=89)), failed("connect", at=NOON - timedelta(days=89))])
        assert peers.forget_old(NOON) == 1
        assert list(rows(engine)) == [("b.test", "https")]
        with engine.connect() as connection:
            for table in (peer_failures, peer_latencies):
                assert connection.execute(select(table.c.domain)).scalars().all() == ["b.test"]

    def test_of_too_many_names_those_heard_of_last_are_kept(self, peers: Peers, engine: Engine) -> None:
        for number in range(10):
            peers.add([took(0.1, f"{number}.evil.test", "inbound", NOON + timedelta(seconds=number))])
        peers.add([took(0.1, at=NOON + timedelta(hours=1))])
        assert peers.forget_old(NOON + timedelta(hours=2), most=3) == 8
        assert [domain for domain, _ in rows(engine)] == ["8.evil.test", "9.evil.test", "b.test"]


@pytest.mark.sqlite
def test_a_store_of_the_version_before_goes_on_counting(tmp_path: Path) -> None:
    old = sqlite3.connect(tmp_path / "store.sqlite")
    old.executescript(
        "CREATE TABLE peers (domain VARCHAR(255) NOT NULL, road VARCHAR(16) NOT NULL,"
        " attempts INTEGER NOT NULL, successes INTEGER NOT NULL, timed INTEGER NOT NULL,"
        " seconds FLOAT NOT NULL, last_contact FLOAT NOT NULL, PRIMARY KEY (domain, road));"
        "INSERT INTO peers VALUES ('b.test', 'https', 3, 2, 2, 0.4, 1893499000.0);"
    )
    old.close()
    peers = Peers(open_store(stores.made(tmp_path / "store.sqlite")))
    (row,) = peers.list()
    assert (row.attempts, row.p50_latency) == (3, None)
    assert row.mean_latency == pytest.approx(0.2)
    peers.add([took(0.5)])
    (row,) = peers.list()
    assert row.attempts == 4
    assert row.mean_latency == pytest.approx(0.3)
    assert row.p50_latency == pytest.approx(0.5, rel=0.091)


def test_attempts_that_are_counted_while_rows_are_read_are_there_with_their_reasons(engine: Engine) -> None:
    counting = Peers(open_store(str(engine.url)))
    read = []

    def count(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        read.append(statement)
        counting.add([failed("timeout")])

    counting.add([failed("timeout")])
    event.listen(engine, "after_cursor_execute", count)
    found = Peers(engine).list()
    assert len(read) > 1
    (row,) = found
    assert row.failures > 0
    assert row.reasons == {"timeout": row.failures}
