"""Endpoint marks, routes and open circuit breakers in the store."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine

from chatmail_milter.store.endpoints import Endpoint, Endpoints
from chatmail_milter.store.peer_trouble import Breakers
from chatmail_milter.store.routes import Route, RouteError, Routes

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


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

    def test_domains_not_written_to_for_a_season_are_forgotten(self, engine: Engine) -> None:
        endpoints = Endpoints(engine)
        endpoints.worked("old.test", "mx.old.test", NOON - timedelta(days=91), None)
        endpoints.failed("dead.test", "connect", NOON - timedelta(days=91), None)
        endpoints.worked("back.test", "mx.back.test", NOON - timedelta(days=91), None)
        endpoints.failed("back.test", "connect", NOON, endpoints.get("back.test"))
        endpoints.worked("new.test", "mx.new.test", NOON - timedelta(days=89), None)
        assert endpoints.forget_old(NOON) == 2
        assert [one.domain for one in endpoints.list()] == ["back.test", "new.test"]

    def test_of_too_many_the_latest_are_kept(self, engine: Engine) -> None:
        endpoints = Endpoints(engine)
        for number in range(5):
            endpoints.worked(f"{number}.test", "mx.test", NOON + timedelta(seconds=number), None)
        assert endpoints.forget_old(NOON, most=2) == 3
        assert [one.domain for one in endpoints.list()] == ["3.test", "4.test"]


class TestBreakers:
    def test_the_report_replaces_the_one_before_and_runs_out(self, engine: Engine) -> None:
        breakers = Breakers(engine)
        until = NOON + timedelta(seconds=20)
        breakers.report("here", {"b.test": until, "c.test": until})
        breakers.report("there", {"b.test": until + timedelta(seconds=5)})
        assert breakers.open_until("b.test", NOON) == until + timedelta(seconds=5)
        breakers.report("there", {})
        assert breakers.open_until("b.test", NOON) == until
        assert breakers.open_until("b.test", until) is None
        breakers.report("here", {"c.test": until})
        assert breakers.open_until("b.test", NOON) is None


class TestRoutes:
    def test_set_replaces_and_unset_takes_away(self, engine: Engine) -> None:
        routes = Routes(engine)
        routes.set(Route("b.test", "9.9.9.9", "only", verify=False, one_per_recipient=True))
        routes.set(Route("b.test", "mx.b.test"))
        assert routes.list() == [Route("b.test", "mx.b.test")]
        assert routes.unset("b.test")
        assert not routes.unset("b.test")
        assert routes.get("b.test") is None

    @pytest.mark.parametrize(
        "target",
        ["9.9.9.9", "2606:4700::1111", "mx.b.test", "https://b.test:8443/in", "https://[2606:4700::1111]/"],
    )
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
            "https://b.test#f",
            "https://:p@b.test",
            "https://b.test/a b",
            "https://b.test/a\nb",
            "https://b.test/\x1b[2J",
            "https://b..test",
            "https://b.test:70000",
            "https://b.test/" + "x" * 500,
            "b.test/path",
            "b.test:8443",
            "256.1.1.1.",
            "a b",
            "",
        ],
    )
    def test_what_is_no_target(self, target: str) -> None:
        with pytest.raises(RouteError):
            Route("b.test", target)
