"""Proofs and failures of single hosts in the store: their lifetime, and how they are deleted."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine

from chatmail_milter.store.endpoint_hosts import EndpointHosts, HostState
from chatmail_milter.store.endpoints import Endpoints
from chatmail_milter.store.engine import open_store
from tests import stores

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
SECOND, HOUR, DAY = timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_store(stores.made(tmp_path / "store.sqlite"))
    yield engine
    engine.dispose()


@pytest.fixture
def hosts(engine: Engine) -> EndpointHosts:
    return EndpointHosts(engine)


def state(hosts: EndpointHosts) -> HostState:
    return hosts.of("b.test")["mx.b.test"]


def test_a_proof_holds_for_a_day(hosts: EndpointHosts) -> None:
    hosts.proved("b.test", "mx.b.test", NOW)
    assert state(hosts).proven(NOW + DAY - SECOND)
    assert not state(hosts).proven(NOW + DAY)
    assert not state(hosts).disproven(NOW)


def test_a_refutation_holds_for_an_hour_and_takes_the_place_of_a_proof(hosts: EndpointHosts) -> None:
    hosts.proved("b.test", "mx.b.test", NOW)
    hosts.disproved("b.test", "mx.b.test", NOW)
    assert not state(hosts).proven(NOW)
    assert state(hosts).disproven(NOW + HOUR - SECOND)
    assert not state(hosts).disproven(NOW + HOUR)
    hosts.proved("b.test", "mx.b.test", NOW)
    assert not state(hosts).disproven(NOW)


def test_a_doubt_leaves_neither(hosts: EndpointHosts) -> None:
    hosts.proved("b.test", "mx.b.test", NOW)
    hosts.doubted("b.test", "mx.b.test")
    assert not state(hosts).proven(NOW)
    assert not state(hosts).disproven(NOW)


def test_the_smallest_refused_size_is_the_limit_for_a_day(hosts: EndpointHosts) -> None:
    for size in (5000, 3000, 4000):
        hosts.limited("b.test", "mx.b.test", size, NOW)
    assert state(hosts).limits(3000, NOW + DAY - SECOND)
    assert not state(hosts).limits(2999, NOW)
    assert not state(hosts).limits(9999, NOW + DAY)
    hosts.limited("b.test", "mx.b.test", 4000, NOW + DAY)
    assert not state(hosts).limits(3999, NOW + DAY), "a limit that ran out counts no longer"


def test_facts_of_one_kind_leave_the_others(hosts: EndpointHosts) -> None:
    hosts.proved("b.test", "mx.b.test", NOW)
    hosts.limited("b.test", "mx.b.test", 3000, NOW)
    assert state(hosts).proven(NOW)
    assert state(hosts).limits(3000, NOW)


def test_each_host_of_each_domain_is_known_by_itself(hosts: EndpointHosts) -> None:
    hosts.proved("b.test", "mx.b.test", NOW)
    hosts.disproved("c.test", "mx.b.test", NOW)
    assert hosts.of("b.test").keys() == {"mx.b.test"}
    assert state(hosts).proven(NOW)
    assert hosts.all(NOW).keys() == {"b.test", "c.test"}
    assert hosts.all(NOW + HOUR).keys() == {"b.test"}, "what holds no longer is not shown"


def test_they_are_forgotten_with_their_domain(engine: Engine, hosts: EndpointHosts) -> None:
    endpoints = Endpoints(engine)
    for domain in ("b.test", "c.test", "d.test"):
        hosts.proved(domain, f"mx1.{domain}", NOW)
        hosts.proved(domain, f"mx2.{domain}", NOW)
    endpoints.failed("b.test", "connect", NOW, None)
    endpoints.failed("e.test", "connect", NOW, None)
    assert endpoints.forget("b.test") == 1
    assert hosts.all(NOW).keys() == {"c.test", "d.test"}
    assert endpoints.forget(None) == 3
    assert hosts.all(NOW) == {}


def test_what_has_run_out_is_forgotten_and_what_is_too_much(engine: Engine, hosts: EndpointHosts) -> None:
    hosts.disproved("old.test", "old.test", NOW - HOUR)
    for number in range(6):
        hosts.proved(f"d{number}.test", "mx", NOW + number * SECOND)
    assert Endpoints(engine).forget_old(NOW) == 1
    assert Endpoints(engine).forget_old(NOW, most=4) == 2
    assert hosts.all(NOW).keys() == {f"d{number}.test" for number in range(2, 6)}
