"""What is held of a domain, for how long, and what ends that sooner."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import exc

from chatmail_milter.store.endpoint_hosts import EndpointHosts, HostState
from chatmail_milter.store.endpoints import Endpoints
from chatmail_milter.store.engine import open_store
from chatmail_milter.store.routes import Route, Routes
from mxdeliv_app.relay.known import Known, store_may_fail
from mxdeliv_app.relay.patience import Patience

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def tables(tmp_path: Path) -> Iterator[tuple[Routes, Endpoints, EndpointHosts]]:
    engine = open_store(f"sqlite:///{tmp_path}/store.sqlite")
    yield Routes(engine), Endpoints(engine), EndpointHosts(engine)
    engine.dispose()


def test_what_others_change_is_known_when_the_moment_is_over(
    tables: tuple[Routes, Endpoints, EndpointHosts],
) -> None:
    routes, endpoints, hosts = tables
    clock = Clock()
    known = Known(routes, endpoints, hosts, clock)
    assert known.route("b.test") is None
    routes.set(Route("b.test", "mx.b.test"))  # which waits for longer than the moment
    assert known.route("b.test") is None, "by a clock that stands still"
    clock.now += 0.051
    found = known.route("b.test")
    assert found is not None
    assert found.target == "mx.b.test"


def test_what_this_process_learns_is_known_at_once(tables: tuple[Routes, Endpoints, EndpointHosts]) -> None:
    known = Known(*tables, Clock())
    assert known.endpoint("b.test") is None
    known.failed("b.test", "connect", NOW, None)
    failed = known.endpoint("b.test")
    assert failed is not None
    assert failed.failures == 1
    known.unmark("b.test")
    unmarked = known.endpoint("b.test")
    assert unmarked is not None
    assert unmarked.no_https_until is None
    known.worked("b.test", "mx.b.test", NOW, unmarked)
    worked = known.endpoint("b.test")
    assert worked is not None
    assert (worked.host, worked.failures) == ("mx.b.test", 0)


def test_what_was_read_before_this_process_learnt_something_is_not_held(
    tables: tuple[Routes, Endpoints, EndpointHosts],
) -> None:
    class Slow(EndpointHosts):
        """Reads, and the first time answers only when another thread has proved the host."""

        asked = 0

        def of(self, domain: str) -> Mapping[str, HostState]:
            read = super().of(domain)
            self.asked += 1
            if self.asked == 1:
                known.proved(domain, "mx.b.test", NOW)
            return read

    routes, endpoints, hosts = tables
    known = Known(routes, endpoints, Slow(hosts._engine), Clock())
    assert not known.host("b.test", "mx.b.test").proven(NOW)
    assert known.host("b.test", "mx.b.test").proven(NOW)


@pytest.mark.parametrize(
    ("size", "whole"), [(0, 30), (4096, 30.03), (1 << 20, 38), (30 << 20, 270), (1 << 40, 270)]
)
def test_a_large_message_has_more_time_but_not_for_ever(size: int, whole: float) -> None:
    patience = Patience(30.0, 30 << 20)
    assert patience.whole(size) == pytest.approx(whole, abs=0.01)
    assert patience.longest == 270 < 600 / 2


@pytest.mark.parametrize(
    "error",
    [
        exc.OperationalError("UPDATE", {}, Exception("locked")),
        exc.DatabaseError("UPDATE", {}, Exception("malformed")),
        exc.InternalError("UPDATE", {}, Exception("transaction")),
        exc.TimeoutError("pool"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_no_failure_of_the_store_loses_a_peers_answer(error: exc.SQLAlchemyError) -> None:
    with store_may_fail():
        raise error
