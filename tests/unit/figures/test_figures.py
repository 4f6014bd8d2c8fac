"""Figures for the operator as values: from counts in the store, and without parts that can't be read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from chatmail_milter.config import Config, MailSettings, StoreSettings
from chatmail_milter.config.values import MailDomain
from chatmail_milter.figures import accounts, traffic, waiting
from chatmail_milter.figures.overview import disks, overview
from chatmail_milter.figures.peers import peers, restrictions
from chatmail_milter.store.accounts import Accounts
from chatmail_milter.store.contacts import Contact, Road
from chatmail_milter.store.endpoints import Endpoints
from chatmail_milter.store.fault import StoreError
from chatmail_milter.store.peer_trouble import Breakers
from chatmail_milter.store.peers import Peers
from chatmail_milter.store.policies import Blocks, Federations, Suspensions
from chatmail_milter.store.routes import Route, Routes

NOW = datetime(2030, 1, 10, 12, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)


def sent(domain: str, at: datetime = NOW, latency: float = 0.5, road: Road = "https") -> Contact:
    return Contact(domain, road, True, latency, None, at)


def failed(domain: str, at: datetime = NOW, words: str = "no") -> Contact:
    return Contact(domain, "https", False, None, "connect", at, words=words)


@dataclass
class WaitingMessage:
    arrived: datetime
    domains: tuple[str, ...]
    reasons: tuple[str, ...] = ()
    queue: str = "deferred"
    size: int = 100


class TestTraffic:
    def test_a_day_is_24_hours_of_which_the_last_is_under_way(self, engine: Engine) -> None:
        begin = datetime(2030, 1, 9, 13, tzinfo=UTC)
        Peers(engine).add([sent("b.test", begin - HOUR), sent("b.test", begin), sent("b.test", NOW)])
        found = traffic.relay(engine, traffic.SPANS["day"], NOW)
        assert (found.since, found.step, len(found.pieces)) == (begin, HOUR, 24)
        assert [place for place, piece in enumerate(found.pieces) if piece.flows] == [0, 23]
        assert found.pieces[-1].at == datetime(2030, 1, 10, 12, tzinfo=UTC)
        assert found.total["out-https"].attempts == 2

    def test_a_flow(self, engine: Engine) -> None:
        Peers(engine).add([sent("b.test", latency=1.0), sent("b.test", latency=3.0), failed("b.test")])
        Peers(engine).add([failed("c.test")])
        found = traffic.relay(engine, traffic.SPANS["week"], NOW).total["out-https"]
        assert (found.attempts, found.successes, found.failures, found.share) == (4, 2, 2, 0.5)
        assert (found.mean, found.reasons) == (2.0, {"connect": 2})
        assert found.p50 == pytest.approx(1.0, rel=0.091)
        assert found.p95 == pytest.approx(3.0, rel=0.091)

    def test_of_nothing_there_is_no_share_and_no_latency(self, engine: Engine) -> None:
        found = traffic.relay(engine, traffic.SPANS["quarter"], NOW)
        assert len(found.pieces) == 90
        assert found.total.keys() == {"submission", "out-https", "out-smtp", "in-mxdeliv", "in-smtp"}
        for one in found.total.values():
            assert (one.attempts, one.share, one.mean, one.p50, one.p95) == (0, None, None, None, None)

    def test_hours_that_are_yet_to_come_are_not_told(self, engine: Engine) -> None:
        Peers(engine).add([sent("b.test", NOW + 2 * HOUR)])
        assert traffic.relay(engine, traffic.SPANS["week"], NOW).total["out-https"].attempts == 0

    def test_of_one_peer_only_its_own(self, engine: Engine) -> None:
        Peers(engine).add([sent("b.test"), sent("c.test"), sent("b.test", road="smtp")])
        found = traffic.of_peer(engine, "b.test", traffic.SPANS["day"], NOW)
        assert {road: one.attempts for road, one in found.total.items()} == {
            "https": 1, "smtp": 1, "inbound": 0,
        }  # fmt: skip


class TestPeers:
    def test_a_peer_by_each_road_with_what_waits_and_its_last_words(self, engine: Engine) -> None:
        Peers(engine).add([sent("b.test"), failed("b.test", words="old"), failed("b.test", words="new")])
        Peers(engine).add([sent("b.test", road="inbound")])
        https, inbound = peers(engine, {"b.test": 3}, NOW)
        assert (https.road, https.attempts, https.successes, https.failures) == ("https", 3, 1, 2)
        assert https.share == pytest.approx(1 / 3)
        assert https.queued == 3
        assert https.last_failure is not None
        assert https.last_failure.words == "new"
        assert (inbound.road, inbound.share, inbound.last_failure) == ("inbound", 1.0, None)
        assert {one.queued for one in peers(engine, None, NOW)} == {None}

    def test_who_failed_more_often_than_not_in_the_last_day_is_failing(self, engine: Engine) -> None:
        expected = {"half.test": (1, 1, False), "most.test": (1, 2, True), "all.test": (0, 1, True)}
        for domain, (good, bad, _) in expected.items():
            old = [failed(domain, NOW - timedelta(days=2))] * 5
            Peers(engine).add([sent(domain)] * good + [failed(domain)] * bad + old)
        found = {one.domain: (one.recent_attempts, one.failing) for one in peers(engine, {}, NOW)}
        assert found == {domain: (good + bad, failing) for domain, (good, bad, failing) in expected.items()}

    def test_what_restricts_a_peer(self, engine: Engine) -> None:
        Blocks(engine).add(["b.test"])
        Federations(engine).add(["f.test"])
        Breakers(engine).report("host", {"s.test": NOW + HOUR, "past.test": NOW - HOUR})
        Endpoints(engine).failed("n.test", "connect", NOW, None)
        Routes(engine).set(Route("b.test", None, "never"))
        names = {"b.test", "f.test", "s.test", "past.test", "n.test", "free.test", "(unproven)"}
        assert restrictions(engine, names, NOW) == {
            "b.test": ("blocked", "route"),
            "f.test": ("federation",),
            "s.test": ("breaker",),
            "n.test": ("no-https",),
        }


def test_accounts_are_counted_by_last_login(engine: Engine) -> None:
    today = date(2030, 1, 10)
    kept = Accounts(engine, today=lambda: today - timedelta(days=20))
    for name, days in (("alice000", 1), ("bob00000", 7), ("carol000", 30), ("dave0000", 31)):
        assert kept.create(f"{name}@a.test", "{PLAIN}x", today - timedelta(days=days))
    assert Accounts(engine, today=lambda: today).create("erin0000@a.test", "{PLAIN}x")
    Suspensions(engine).suspend("bob00000@a.test")
    assert accounts.count(engine, today) == accounts.AccountFigures(
        number=5, used_day=1, used_week=2, used_month=3, made_week=1, suspended=1
    )


def test_the_queue_by_destination_and_reason() -> None:
    late, early = NOW - HOUR, NOW - 2 * HOUR
    found = waiting.queue(
        [
            WaitingMessage(late, ("b.test", "c.test"), ("no route",)),
            WaitingMessage(early, ("c.test",), ("no route",), size=50),
            WaitingMessage(late, ("c.test",), ("busy",), queue="hold"),
        ]
    )
    assert (found.messages, found.size, found.oldest) == (3, 250, early)
    assert found.by_queue == {"deferred": 2, "hold": 1}
    first, second = found.destinations
    assert (first.domain, first.messages, first.size, first.held) == ("c.test", 3, 250, 1)
    assert (first.oldest, first.reasons) == (early, {"no route": 2, "busy": 1})
    assert (second.domain, second.messages, second.oldest) == ("b.test", 1, late)


def test_an_empty_queue() -> None:
    assert waiting.queue([]) == waiting.Queue(0, 0, None, {}, ())


def test_places_of_one_file_system_are_one_disk(tmp_path: Path) -> None:
    (one,) = disks([tmp_path, tmp_path, tmp_path / "none"])
    assert one.place == str(tmp_path)
    assert 0 <= one.used_share <= 1
    assert 0 < one.free < one.size


class TestOverview:
    CONFIG = Config(
        mail=MailSettings(domain=MailDomain("a.test")), store=StoreSettings(url="sqlite:////none/store")
    )

    def test_all_that_can_be_looked_at(self, engine: Engine) -> None:
        Peers(engine).add([sent("b.test")])
        found = overview(self.CONFIG, lambda: engine, list, traffic.SPANS["day"], NOW)
        assert (found.domain, found.at, found.missing) == ("a.test", NOW, {})
        assert found.traffic is not None
        assert found.traffic.total["out-https"].attempts == 1
        assert found.accounts is not None
        assert found.queue == waiting.queue([])
        assert found.disks

    def test_what_is_away_is_said_and_the_rest_is_told(self) -> None:
        def no_store() -> Engine:
            raise StoreError(75, "mend the store")

        def no_queue() -> list[WaitingMessage]:
            raise waiting.QueueAwayError("start Postfix")

        found = overview(self.CONFIG, no_store, no_queue, traffic.SPANS["day"], NOW)
        assert (found.traffic, found.accounts, found.queue) == (None, None, None)
        assert found.missing == {
            "traffic": "mend the store", "accounts": "mend the store", "queue": "start Postfix",
        }  # fmt: skip
        assert found.disks
        assert issubclass(StoreError, SQLAlchemyError)
