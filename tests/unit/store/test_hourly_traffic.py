"""Hourly traffic in the store: its rows, their lifetime, their number."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine, func, select

from chatmail_milter.store import traffic
from chatmail_milter.store.contacts import Contact, Road
from chatmail_milter.store.peers import UNPROVEN, Peers
from chatmail_milter.store.tables import traffic_peers

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
LATE = NOON + timedelta(minutes=59, seconds=59)


def sent(domain: str, at: datetime, latency: float = 0.5, road: Road = "https") -> Contact:
    return Contact(domain, road, True, latency, None, at)


def failed(domain: str, at: datetime, reason: str = "connect", road: Road = "https") -> Contact:
    return Contact(domain, road, False, None, reason, at)


def test_an_hour_has_what_was_counted_in_it_and_nothing_of_the_next(engine: Engine) -> None:
    peers = Peers(engine)
    peers.add([sent("b.test", NOON, 0.5), sent("c.test", LATE, 1.5), failed("b.test", NOON)])
    peers.add([sent("b.test", NOON + HOUR, 9.0), sent("b.test", NOON, 1.0)])
    found = traffic.hours(engine, NOON)
    assert found.keys() == {(NOON, "out-https"), (NOON + HOUR, "out-https")}
    first = found[NOON, "out-https"]
    assert (first.attempts, first.successes, first.timed, first.seconds) == (4, 3, 3, 3.0)
    assert first.reasons == {"connect": 1}
    assert sum(first.buckets.values()) == 3
    assert traffic.hours(engine, NOON + HOUR).keys() == {(NOON + HOUR, "out-https")}


def test_each_way_is_counted_apart(engine: Engine) -> None:
    Peers(engine).add(
        [
            sent("b.test", NOON),
            sent("b.test", NOON, road="smtp"),
            Contact("b.test", "inbound", True, 0.1, None, NOON),
            Contact("b.test", "inbound", True, 0.1, None, NOON, door="mxdeliv"),
            Contact("", "submission", False, None, "rate", NOON),
        ]
    )
    found = traffic.hours(engine, NOON)
    assert {way for _, way in found} == set(traffic.WAYS)
    assert all(one.attempts == 1 for one in found.values())
    assert found[NOON, "submission"].reasons == {"rate": 1}


def test_a_submission_is_no_peer(engine: Engine) -> None:
    peers = Peers(engine)
    peers.add([Contact("", "submission", True, None, None, NOON)])
    assert peers.list() == []
    assert traffic.of_peer(engine, "", NOON) == {}


def test_a_failure_that_was_none_after_all_is_taken_back(engine: Engine) -> None:
    peers = Peers(engine)
    peers.add([failed("b.test", NOON, "smtp-5yz", "smtp")])
    peers.add([Contact("b.test", "smtp", True, 0.2, None, LATE, instead_of="smtp-5yz")])
    found = traffic.hours(engine, NOON)[NOON, "out-smtp"]
    assert (found.attempts, found.successes, +found.reasons) == (1, 1, {})
    mine = traffic.of_peer(engine, "b.test", NOON)[NOON, "smtp"]
    assert (mine.attempts, mine.successes) == (1, 1)


def test_taken_back_in_the_next_hour_it_leaves_no_number_below_nothing(engine: Engine) -> None:
    peers = Peers(engine)
    peers.add([failed("b.test", NOON, "smtp-5yz", "smtp")])
    peers.add([Contact("b.test", "smtp", True, 0.2, None, NOON + HOUR, instead_of="smtp-5yz")])
    found = traffic.hours(engine, NOON + HOUR)[NOON + HOUR, "out-smtp"]
    assert (found.attempts, found.successes, +found.reasons) == (1, 1, {})


def test_of_a_domain_that_nobody_vouches_for_only_the_relay_s_hour_knows(engine: Engine) -> None:
    Peers(engine).add([Contact("x.test", "inbound", False, None, "blocked", NOON, claimed=True)])
    assert traffic.hours(engine, NOON)[NOON, "in-smtp"].attempts == 1
    for domain in ("x.test", UNPROVEN):
        assert traffic.of_peer(engine, domain, NOON) == {}


def test_a_peer_s_hours(engine: Engine) -> None:
    Peers(engine).add([sent("b.test", NOON, 0.5), failed("b.test", NOON), sent("c.test", NOON)])
    assert traffic.of_peer(engine, "b.test", NOON).keys() == {(NOON, "https")}
    found = traffic.of_peer(engine, "b.test", NOON)[NOON, "https"]
    assert (found.attempts, found.successes, found.timed, found.seconds) == (2, 1, 1, 0.5)


def test_after_ninety_days_an_hour_is_forgotten(engine: Engine) -> None:
    Peers(engine).add([sent("b.test", NOON), sent("b.test", NOON + HOUR)])
    traffic.forget_old(engine, NOON + timedelta(days=90))
    assert len(traffic.hours(engine, NOON)) == 2
    # A row of the relay's, one of its latencies, one of the peer's.
    assert traffic.forget_old(engine, NOON + timedelta(days=90) + HOUR) == 3
    assert {hour for hour, _ in traffic.hours(engine, NOON)} == {NOON + HOUR}
    assert {hour for hour, _ in traffic.of_peer(engine, "b.test", NOON)} == {NOON + HOUR}


def test_of_peers_only_so_many_hours_are_kept_and_of_the_relay_all(engine: Engine) -> None:
    domains = [f"d{number}.test" for number in range(4)]
    Peers(engine).add([sent(domain, NOON + hour * HOUR) for hour in range(3) for domain in domains])
    traffic.forget_old(engine, NOON + 3 * HOUR, most=9)
    with engine.connect() as connection:
        left = connection.execute(select(traffic_peers.c.hour, func.count()).group_by("hour")).all()
    assert [number for _, number in left] == [4, 4]
    assert {hour for hour, _ in traffic.of_peer(engine, "d0.test", NOON)} == {NOON + HOUR, NOON + 2 * HOUR}
    assert len(traffic.hours(engine, NOON)) == 3
