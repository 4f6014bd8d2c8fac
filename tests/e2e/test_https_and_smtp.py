"""Mail between the relays: HTTPS first, SMTP where HTTPS is closed, and the counts of both."""

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


class CountedTraffic:
    """What the relays count, beside what crossed from `a` to `b`: others' apps may still send."""

    def __init__(self, a: LabHost, b: LabHost) -> None:
        self._a, self._b = a, b
        self._since, self._before = until("nothing crosses while it is counted", self._in_silence, 60)

    def roads(self) -> list[str]:
        """By which road each message came since."""
        return hops.inbound_roads(journal.read(self._b, self._since))

    def grown(self) -> bool:
        """Whether each that crossed has been counted once at both ends, and by its road."""
        roads = self.roads()
        each = (roads.count("https"), roads.count("smtp"), len(roads))
        return each == tuple(now - then for now, then in zip(self._counts(), self._before, strict=True))

    def _counts(self) -> tuple[int, int, int]:
        return (
            relay.successes(self._a, self._b.domain, "https"),
            relay.successes(self._a, self._b.domain, "smtp"),
            relay.successes(self._b, self._a.domain, "inbound"),
        )

    def _in_silence(self) -> tuple[float, tuple[int, int, int]] | None:
        since = float(self._b.run("date +%s.%N").stdout)
        relay.count_all(self._a, self._b)
        found = self._counts()
        return None if hops.inbound_roads(journal.read(self._b, since)) else (since, found)


def test_delivery_by_https_is_counted_once_at_both_ends(
    stage: Stage, alice: Person, bob: Person, a: LabHost, b: LabHost
) -> None:
    counted = CountedTraffic(a, b)
    stage.text(alice, bob)
    until("each that crossed is counted once", counted.grown, 10, every=0.3)
    assert "https" in counted.roads()


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

    counted, failed = CountedTraffic(a, b), failures()
    with firewall.closed(b, 443, "refuse"):
        stage.text(alice, bob)
        until("it crossed by SMTP", lambda: "smtp" in counted.roads(), 10, every=0.3)
    until("each that crossed is counted once, by its road", counted.grown, 10, every=0.3)
    until("the failure of HTTPS, too", lambda: failures() > failed, 10, every=0.3)
