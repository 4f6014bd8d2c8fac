"""The domain cache: its entries, their lifetimes, and events that end an entry early."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine, exc

from chatmail_milter.store.endpoint_hosts import EndpointHosts, HostState
from chatmail_milter.store.endpoints import Endpoints
from chatmail_milter.store.engine import open_store
from chatmail_milter.store.routes import Route, Routes
from mxdeliv_app.https.event_loop import WouldWaitError, at_once
from mxdeliv_app.https.post import Timeouts
from mxdeliv_app.relay.domain_cache import DomainCache, store_may_fail
from tests import stores
from tests.unit.clock import Clock

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def tables(tmp_path: Path) -> Iterator[tuple[Routes, Endpoints, EndpointHosts]]:
    engine = open_store(stores.made(tmp_path / "store.sqlite"))
    yield Routes(engine), Endpoints(engine), EndpointHosts(engine)
    engine.dispose()


def test_what_others_change_is_known_when_the_moment_is_over(
    tables: tuple[Routes, Endpoints, EndpointHosts],
) -> None:
    routes, endpoints, hosts = tables
    clock = Clock()
    known = DomainCache(routes, endpoints, hosts, clock)
    assert known.route("b.test") is None
    routes.set(Route("b.test", "mx.b.test"))  # which waits for longer than the moment
    assert known.route("b.test") is None, "by a clock that stands still"
    clock.now += 0.051
    found = known.route("b.test")
    assert found is not None
    assert found.target == "mx.b.test"


def test_what_this_process_learns_is_known_at_once(tables: tuple[Routes, Endpoints, EndpointHosts]) -> None:
    known = DomainCache(*tables, Clock())
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
        """Reads, and the first time answers only when another thread has disproved the host."""

        asked = 0

        def of(self, domain: str) -> Mapping[str, HostState]:
            read = super().of(domain)
            self.asked += 1
            if self.asked == 1:
                known.disproved(domain, "mx.b.test", NOW)
            return read

    routes, endpoints, hosts = tables
    known = DomainCache(routes, endpoints, Slow(hosts._engine), Clock())
    assert not known.host("b.test", "mx.b.test").disproven(NOW)
    assert known.host("b.test", "mx.b.test").disproven(NOW)


def test_the_event_loop_hears_what_is_held_and_neither_reads_nor_writes(
    tables: tuple[Routes, Endpoints, EndpointHosts],
) -> None:
    clock = Clock()
    known = DomainCache(*tables, clock)
    with at_once():
        with pytest.raises(WouldWaitError):
            known.endpoint("b.test")
        with pytest.raises(WouldWaitError):
            known.failed("b.test", "connect", NOW, None)
    assert known.endpoint("b.test") is None
    with at_once():
        assert known.endpoint("b.test") is None
        clock.now += 0.051
        with pytest.raises(WouldWaitError):
            known.endpoint("b.test")


class Paused(Routes):
    """The first time it reads, then waits until it may go on; it fails if there is an error to raise."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.asked = 0
        self.begun, self.go = threading.Event(), threading.Event()
        self.error: exc.SQLAlchemyError | None = None

    def get(self, domain: str) -> Route | None:
        self.asked += 1
        read = super().get(domain)
        self.begun.set()
        assert self.asked > 1 or self.go.wait(60)
        if self.error is not None:
            raise self.error
        return read


def ask_together(known: DomainCache, paused: Paused, number: int) -> list[Future[Route | None]]:
    """So many ask for the same domain while it is being read."""
    with ThreadPoolExecutor(number) as pool:
        asked = [pool.submit(known.route, "b.test") for _ in range(number)]
        assert paused.begun.wait(60)
        paused.go.set()
    return asked


def test_many_who_ask_at_once_cost_one_reading(tables: tuple[Routes, Endpoints, EndpointHosts]) -> None:
    routes, endpoints, hosts = tables
    routes.set(Route("b.test", "mx.b.test"))
    paused = Paused(routes._engine)
    known = DomainCache(paused, endpoints, hosts, Clock())
    assert {one.result() for one in ask_together(known, paused, 8)} == {Route("b.test", "mx.b.test")}
    assert paused.asked == 1


def test_who_asks_while_it_is_read_fails_if_that_fails(
    tables: tuple[Routes, Endpoints, EndpointHosts],
) -> None:
    _, endpoints, hosts = tables
    paused = Paused(hosts._engine)
    paused.error = exc.OperationalError("SELECT", {}, Exception("locked"))
    known = DomainCache(paused, endpoints, hosts, Clock())
    assert all(one.exception() is not None for one in ask_together(known, paused, 2))
    paused.error = None
    assert known.route("b.test") is None


def test_what_began_to_be_read_too_long_ago_is_read_again(
    tables: tuple[Routes, Endpoints, EndpointHosts],
) -> None:
    routes, endpoints, hosts = tables
    clock, paused = Clock(), Paused(routes._engine)
    known = DomainCache(paused, endpoints, hosts, clock)
    with ThreadPoolExecutor(2) as pool:
        early = pool.submit(known.route, "b.test")
        assert paused.begun.wait(60)
        routes.set(Route("b.test", "mx.b.test"))
        clock.now += 0.051
        late = pool.submit(known.route, "b.test")
        paused.go.set()
    assert (early.result(), late.result()) == (None, Route("b.test", "mx.b.test"))


def test_what_is_learnt_while_it_is_read_is_known_at_once(
    tables: tuple[Routes, Endpoints, EndpointHosts],
) -> None:
    routes, endpoints, hosts = tables
    paused = Paused(routes._engine)
    known = DomainCache(paused, endpoints, hosts, Clock())
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(known.endpoint, "b.test")
        assert paused.begun.wait(60)
        known.failed("b.test", "connect", NOW, None)
        learnt = known.endpoint("b.test")
        paused.go.set()
    assert reading.result() is not None, "which it read after the failure was written"
    assert learnt is not None
    assert learnt.failures == 1
    assert known.endpoint("b.test") == learnt


@pytest.mark.parametrize(
    ("size", "whole"), [(0, 30), (4096, 30.03), (1 << 20, 38), (73 << 20, 614), (1 << 40, 614)]
)
def test_a_large_message_has_more_time_but_not_for_ever(size: int, whole: float) -> None:
    timeouts = Timeouts(30.0, 73 << 20)
    assert timeouts.whole(size) == pytest.approx(whole, abs=0.01)
    assert timeouts.longest == 614


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
