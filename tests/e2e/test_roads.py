"""Mail between the relays: HTTPS first, SMTP where HTTPS is closed, and the counts that say so."""

from __future__ import annotations

import pytest

from tests.chat import firewall, hops, journal, relay
from tests.chat.deadline import until
from tests.chat.hops import HOPS, Trace
from tests.chat.person import Person
from tests.chat.stage import FIVE_MEGABYTES, Stage
from tests.lab.host import LabHost


def _print(what: str, trace: Trace) -> None:
    words = ", ".join(f"{name} {seconds * 1000:.0f}" for name, seconds in zip(HOPS, trace.hops, strict=True))
    print(f"{what} by {trace.road}, ms: {words}; total {trace.total * 1000:.0f}")


def test_securejoin_crosses_by_https(stage: Stage, a: LabHost, b: LabHost) -> None:
    one, other = stage.newcomer(a.domain), stage.newcomer(b.domain)
    mark = one.events.mark()
    began = float(a.run("date +%s.%N").stdout)
    stage.acquaint(one, other)
    people = {one.address, other.address}
    roads = [road for host in (a, b) for road in hops.inbound_roads(journal.read(host, began), people)]
    assert len(roads) >= 2
    assert set(roads) == {"https"}
    assert one.events.mark() > mark


def test_texts_cross_by_https_both_ways(stage: Stage, alice: Person, bob: Person) -> None:
    for sender, receiver in ((alice, bob), (bob, alice)):
        trace = stage.text(sender, receiver).trace
        _print("text", trace)
        assert trace.road == "https"
        assert min(trace.hops) >= 0


def test_five_megabytes_cross_by_https_unaltered(stage: Stage, alice: Person, bob: Person) -> None:
    trace = stage.file(alice, bob, FIVE_MEGABYTES).trace
    _print("5 MB", trace)
    assert trace.road == "https"


def test_mail_between_users_of_one_relay_stays_on_it(
    stage: Stage, alice: Person, a: LabHost, b: LabHost
) -> None:
    neighbour = stage.newcomer(a.domain)
    began = float(b.run("date +%s.%N").stdout)
    stage.acquaint(alice, neighbour)
    people = {alice.address, neighbour.address}
    assert [hops.inbound_roads(journal.read(host, began), people) for host in (a, b)] == [[], []]


def test_delivery_by_https_is_counted_once_at_both_ends(
    stage: Stage, alice: Person, bob: Person, a: LabHost, b: LabHost
) -> None:
    def counts() -> tuple[int, int, int]:
        return (
            relay.successes(a, b.domain, "https"),
            relay.successes(a, b.domain, "smtp"),
            relay.successes(b, a.domain, "inbound"),
        )

    def crossed(since: float) -> list[str]:
        return hops.inbound_roads(journal.read(b, since))

    def counted_in_silence() -> tuple[float, tuple[int, int, int]] | None:
        since = float(b.run("date +%s.%N").stdout)
        relay.count_all(a, b)
        found = counts()
        return None if crossed(since) else (since, found)

    # Others' apps may still send: what is counted is compared with what crossed, by whichever road.
    since, before = until("nothing crosses while it is counted", counted_in_silence, 60)
    stage.text(alice, bob)

    def grown() -> bool:
        roads = crossed(since)
        each = (roads.count("https"), roads.count("smtp"), len(roads))
        return each == tuple(now - then for now, then in zip(counts(), before, strict=True))

    until("each that crossed is counted once", grown, 10, every=0.3)
    assert "https" in crossed(since)


def test_mean_latency_of_https_is_measured(
    stage: Stage, alice: Person, bob: Person, a: LabHost, b: LabHost
) -> None:
    stage.text(alice, bob)
    (row,) = (row for row in relay.ctl(a, "peers") if row["domain"] == b.domain and row["road"] == "https")
    assert 0 < row["mean_latency"] < 10
    assert row["attempts"] == row["successes"] + row["failures"]


@pytest.mark.usefixtures("_https_afresh")
def test_closed_443_means_smtp(stage: Stage, alice: Person, bob: Person, b: LabHost) -> None:
    with firewall.closed(b, 443, "refuse"):
        trace = stage.text(alice, bob).trace
        _print("text", trace)
        assert trace.road == "smtp"
        trace = stage.file(alice, bob, FIVE_MEGABYTES).trace
        _print("5 MB", trace)
        assert trace.road == "smtp"


@pytest.mark.usefixtures("_https_afresh")
def test_peer_that_hangs_on_443_gets_its_mail_by_smtp(
    stage: Stage, alice: Person, bob: Person, b: LabHost
) -> None:
    with firewall.closed(b, 443, "hang"):
        trace = stage.text(alice, bob, seconds=60).trace
    _print("text to a hanging peer", trace)
    assert trace.road == "smtp"


@pytest.mark.usefixtures("_https_afresh")
def test_smtp_delivery_is_counted_as_smtp_and_failed_https(
    stage: Stage, alice: Person, bob: Person, a: LabHost, b: LabHost
) -> None:
    def failures() -> int:
        rows = relay.ctl(a, "peers")
        return sum(row["failures"] for row in rows if row["domain"] == b.domain and row["road"] == "https")

    relay.count_all(a)
    before, https = relay.successes(a, b.domain, "smtp"), relay.successes(a, b.domain, "https")
    failed = failures()
    with firewall.closed(b, 443, "refuse"):
        stage.text(alice, bob)
    until("one more by SMTP", lambda: relay.successes(a, b.domain, "smtp") == before + 1, 10, every=0.3)
    until("one more failure", lambda: failures() == failed + 1, 10, every=0.3)
    assert relay.successes(a, b.domain, "https") == https
