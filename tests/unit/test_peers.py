"""What the store remembers of peers: counts, endpoint marks, routes."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine

from chatmail_milter.store.endpoints import Endpoint, Endpoints
from chatmail_milter.store.engine import open_store
from chatmail_milter.store.peers import Contact, Peers
from chatmail_milter.store.routes import Route, RouteError, Routes

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return open_store(f"sqlite:///{tmp_path}/store.sqlite")


class TestPeers:
    def test_latency_is_the_mean_of_successes_alone(self, engine: Engine) -> None:
        peers = Peers(engine)
        peers.record("b.test", "https", ok=True, latency=0.2, reason=None, at=NOON)
        peers.record("b.test", "https", ok=True, latency=0.4, reason=None, at=NOON)
        peers.record("b.test", "https", ok=True, latency=None, reason=None, at=NOON)
        peers.record("b.test", "https", ok=False, latency=30.0, reason="timeout", at=NOON)
        (row,) = peers.list()
        assert (row.attempts, row.successes, row.failures) == (4, 3, 1)
        assert row.mean_latency == pytest.approx(0.3)
        assert row.reasons == {"timeout": 1}

    def test_no_success_is_no_latency(self, engine: Engine) -> None:
        peers = Peers(engine)
        peers.record("b.test", "smtp", ok=False, latency=1.0, reason="connect", at=NOON)
        assert peers.list()[0].mean_latency is None

    def test_roads_are_counted_apart(self, engine: Engine) -> None:
        peers = Peers(engine)
        peers.record("b.test", "inbound", ok=True, latency=None, reason=None, at=NOON)
        peers.record("b.test", "https", ok=False, latency=None, reason="tls", at=NOON + timedelta(hours=1))
        by_road = {row.road: row for row in peers.list()}
        assert (by_road["inbound"].successes, by_road["https"].successes) == (1, 0)
        assert by_road["https"].last_contact == NOON + timedelta(hours=1)

    def test_concurrent_writers_lose_nothing(self, engine: Engine) -> None:
        peers = Peers(engine)

        def count() -> None:
            for _ in range(50):
                peers.record("b.test", "https", ok=False, latency=None, reason="connect", at=NOON)

        threads = [threading.Thread(target=count) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (peers.list()[0].attempts, peers.list()[0].reasons) == (200, {"connect": 200})

    def test_a_readers_mark_is_kept_with_its_counts(self, engine: Engine) -> None:
        peers = Peers(engine)
        assert peers.mark("log") is None
        peers.add([Contact("b.test", "smtp", True, 0.1, None, NOON)], reader="log", mark="line 7")
        assert Peers(engine).mark("log") == "line 7"
        with pytest.raises(AttributeError):
            peers.add([None], reader="log", mark="line 8")  # type: ignore[list-item]
        assert peers.mark("log") == "line 7"


class TestEndpoints:
    def known(self, endpoints: Endpoints) -> Endpoint:
        found = endpoints.get("b.test")
        assert found is not None
        return found

    def test_unknown_domain(self, engine: Engine) -> None:
        assert Endpoints(engine).get("b.test") is None

    def test_marks_double_from_one_minute_to_thirty(self, engine: Engine) -> None:
        endpoints = Endpoints(engine)
        minutes = []
        for _ in range(8):
            endpoints.failed("b.test", "connect", NOON, endpoints.get("b.test"))
            until = self.known(endpoints).no_https_until
            assert until is not None
            minutes.append((until - NOON) / timedelta(minutes=1))
        assert minutes == [1, 2, 4, 8, 16, 30, 30, 30]

    def test_mark_runs_out(self, engine: Engine) -> None:
        endpoints = Endpoints(engine)
        endpoints.failed("b.test", "connect", NOON, None)
        assert self.known(endpoints).marked(NOON + timedelta(seconds=59))
        assert not self.known(endpoints).marked(NOON + timedelta(seconds=60))

    def test_success_clears_the_mark_and_its_growth(self, engine: Engine) -> None:
        endpoints = Endpoints(engine)
        endpoints.failed("b.test", "connect", NOON, None)
        endpoints.worked("b.test", "mx.b.test", NOON, self.known(endpoints))
        known = self.known(endpoints)
        assert (known.host, known.failures, known.marked(NOON), known.reason) == ("mx.b.test", 0, False, None)

    def test_failure_keeps_the_host_that_worked(self, engine: Engine) -> None:
        endpoints = Endpoints(engine)
        endpoints.worked("b.test", "mx.b.test", NOON, None)
        endpoints.failed("b.test", "timeout", NOON, self.known(endpoints))
        assert self.known(endpoints).host == "mx.b.test"

    def test_steady_success_is_not_written_each_time(self, engine: Engine) -> None:
        endpoints = Endpoints(engine)
        endpoints.worked("b.test", "mx.b.test", NOON, None)
        endpoints.worked("b.test", "mx.b.test", NOON + timedelta(seconds=9), self.known(endpoints))
        assert self.known(endpoints).worked == NOON

    def test_unmark_forgets_when_but_not_how_often(self, engine: Engine) -> None:
        endpoints = Endpoints(engine)
        endpoints.failed("b.test", "connect", NOON, None)
        endpoints.unmark("b.test")
        known = self.known(endpoints)
        assert (known.marked(NOON), known.failures) == (False, 1)

    def test_forget(self, engine: Engine) -> None:
        endpoints = Endpoints(engine)
        for domain in ("a.test", "b.test", "c.test"):
            endpoints.failed(domain, "connect", NOON, None)
        assert endpoints.forget("a.test") == 1
        assert endpoints.forget("a.test") == 0
        assert endpoints.forget(None) == 2
        assert endpoints.list() == []


class TestRoutes:
    def test_set_replaces_and_unset_takes_away(self, engine: Engine) -> None:
        routes = Routes(engine)
        routes.set(Route("b.test", "9.9.9.9", "only", verify=False, one_per_recipient=True))
        routes.set(Route("b.test", "mx.b.test"))
        assert routes.list() == [Route("b.test", "mx.b.test")]
        assert routes.unset("b.test")
        assert not routes.unset("b.test")
        assert routes.get("b.test") is None

    @pytest.mark.parametrize("target", ["9.9.9.9", "2606:4700::1111", "mx.b.test", "https://b.test:8443/in"])
    def test_targets(self, target: str) -> None:
        assert Route("b.test", target).target == target

    @pytest.mark.parametrize(
        "target",
        [
            "http://b.test",
            "https://",
            "https://u:p@b.test",
            "https://b.test:x",
            "https://b.test?q",
            "a b",
            "",
        ],
    )
    def test_what_is_no_target(self, target: str) -> None:
        with pytest.raises(RouteError):
            Route("b.test", target)
