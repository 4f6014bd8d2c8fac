"""Counts, proofs and routes outlive a killed relay; `chatmailctl` shows an open circuit breaker."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.blackbox.relay.installed_relay import InstalledRelay, SeenPost, accept_all, deliver, lmtp
from tests.chat.deadline import until


@pytest.fixture
def own_relay(tmp_path: Path) -> Iterator[InstalledRelay]:
    """A relay of the test's own, which it may kill, and its peer; not started.

    Its store is in memory where it can be: how long a busy disk takes is not what is asked here.
    """
    memory = Path("/dev/shm")  # noqa: S108  (a directory of the test's own is made in it)
    with TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path) as directory:
        relay = InstalledRelay(Path(directory))
        try:
            relay.peer()
            yield relay
        finally:
            relay.close()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_kill_loses_no_counts_that_were_written_and_a_stop_none_at_all(
    own_relay: InstalledRelay, number: signal.Signals
) -> None:
    own_relay.start()
    with lmtp(own_relay) as client:
        for _ in range(20):
            assert client.deliver("ann@_peer.test")[0][0] == 250
        own_relay.peers_row("_peer.test", "https", 20)
        # The next write is due half a second after that one.
        for _ in range(5):
            assert client.deliver("ann@_peer.test")[0][0] == 250
        own_relay.stop(number)
    (row,) = own_relay.ctl("peers", "--json")
    assert row["attempts"] == row["successes"]
    assert row["attempts"] in (range(20, 26) if number is signal.SIGKILL else [25])
    own_relay.start()
    deliver(own_relay, "ann@_peer.test")
    assert own_relay.peers_row("_peer.test", "https", row["attempts"] + 1)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_what_was_learnt_and_ordered_outlives_it(own_relay: InstalledRelay, number: signal.Signals) -> None:
    for name in ("_marked.test", "_routed.test"):
        own_relay.dns.zone[name, "A"] = ["127.0.0.3"]  # where nobody listens
    own_relay.dns.zone["mx._peer.test", "A"] = ["127.0.0.2"]
    own_relay.dns.zone["_peer.test", "MX"] = ["10 mx._peer.test."]
    peer = own_relay.peers[0]
    peer.script = lambda seen: accept_all(seen) if seen.values("Host") == ["_peer.test"] else (404, {}, b"")
    own_relay.start()
    deliver(own_relay, "ann@_marked.test", "ann@_peer.test")
    own_relay.ctl("route", "set", "_routed.test", "127.0.0.2", "--one-per-recipient")
    own_relay.stop(number)
    peer.seen.clear()
    peer.script = accept_all
    # Its HTTPS is there now, but nobody knows.
    own_relay.dns.zone["_marked.test", "A"] = ["127.0.0.2"]
    own_relay.start()
    found = deliver(own_relay, "ann@_marked.test", "ann@_peer.test", "ann@_routed.test", "bob@_routed.test")
    assert [text for _, text in found] == ["2.0.0 Ok: queued as SINK", *["2.0.0 OK"] * 3]
    asked = sorted(seen.values("Host")[0] for seen in peer.seen)
    assert asked == ["_peer.test", "_routed.test", "_routed.test"], "the host that took it comes first"


def test_an_open_breaker_shows_and_until_when(own_relay: InstalledRelay) -> None:
    own_relay.configure(attempt_timeout='"60s"')
    own_relay.start()
    let_go = threading.Event()
    peer = own_relay.peers[0]

    def hang(seen: SeenPost) -> tuple[int, dict[str, str], bytes]:
        let_go.wait(60)
        return accept_all(seen)

    deliver(own_relay, "ann@_peer.test")
    own_relay.peers_row("_peer.test", "https", 1)
    peer.script = hang
    letters = [threading.Thread(target=deliver, args=(own_relay, f"u{n}@_peer.test")) for n in range(4)]
    for letter in letters:
        letter.start()

    def breaker(is_open: bool) -> dict[str, Any]:
        def shown() -> dict[str, Any] | None:
            found: dict[str, Any] = own_relay.ctl("peers", "show", "_peer.test", "--json")
            return found if (found["breaker_open_until"] is not None) == is_open else None

        return until(f"the breaker is {'open' if is_open else 'closed'}", shown, 30)

    open_until = datetime.fromisoformat(breaker(True)["breaker_open_until"])
    # The attempts hang for five seconds before it opens, and are cut after sixty.
    assert timedelta(seconds=1) < open_until - datetime.now(UTC) < timedelta(seconds=56)
    let_go.set()
    for letter in letters:
        letter.join(120)
    (row,) = breaker(False)["roads"]
    assert row["attempts"] == 5
