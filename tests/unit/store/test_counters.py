"""Counters for monitoring: they only grow, whatever is corrected or deleted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine

from chatmail_milter.store import counters, traffic
from chatmail_milter.store.contacts import Contact, CountedEvent
from chatmail_milter.store.peers import Peers

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


def sent(latency: float) -> Contact:
    return Contact("b.test", "https", True, latency, None, NOON)


def test_attempts_and_events_are_counted_by_label_with_their_times(engine: Engine) -> None:
    peers = Peers(engine)
    judged = CountedEvent("judged-smtp", "pass encrypted", 0.25)
    peers.add([sent(0.5), sent(2.0), Contact("c.test", "https", False, None, "tls", NOON)], [judged])
    peers.add([sent(1.5)], [judged, CountedEvent("push", "told")])
    found = counters.read(engine)
    https = found["out-https"]
    assert (https.labels, https.timed, https.seconds) == ({"": 3, "tls": 1}, 3, 4.0)
    assert sum(https.buckets.values()) == 3
    assert (found["judged-smtp"].labels, found["judged-smtp"].seconds) == ({"pass encrypted": 2}, 0.5)
    assert (found["push"].labels, found["push"].timed) == ({"told": 1}, 0)


def test_a_correction_takes_nothing_away(engine: Engine) -> None:
    peers = Peers(engine)
    peers.add([Contact("b.test", "smtp", False, None, "smtp-5yz", NOON)])
    peers.add([Contact("b.test", "smtp", True, 0.2, None, NOON, instead_of="smtp-5yz")])
    assert counters.read(engine)["out-smtp"].labels == {"smtp-5yz": 1, "": 1}


def test_counters_stay_when_the_hours_are_deleted(engine: Engine) -> None:
    Peers(engine).add([sent(0.5)], [CountedEvent("mxdeliv", "200")])
    before = counters.read(engine)
    assert traffic.forget_old(engine, NOON + timedelta(days=91)) > 0
    assert traffic.hours(engine, NOON - timedelta(days=91)) == {}
    assert counters.read(engine) == before


def test_a_counter_is_no_hour(engine: Engine) -> None:
    Peers(engine).add([sent(0.5)], [CountedEvent("mxdeliv", "200")])
    assert traffic.hours(engine, NOON).keys() == {(NOON, "out-https")}


def test_every_kind_fits_its_column() -> None:
    """PostgreSQL refuses a longer one, and with it all counts of the transaction."""
    assert max(map(len, (*counters.KINDS, *traffic.WAYS))) <= 16
