"""What of the relay's counts outlives it, and what it reports of itself while peers hang."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.blackbox.relay_world import Seen, World, accept_all, deliver, lmtp


@pytest.fixture
def own_world(tmp_path: Path) -> Iterator[World]:
    """A relay of the test's own, which it may kill; not started."""
    world = World(tmp_path)
    try:
        world.peer()
    except PermissionError:
        world.close()
        pytest.skip("peers listen on port 443, which may not be bound here")
    yield world
    world.close()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_kill_loses_a_second_of_counts_at_most_and_a_stop_none(
    own_world: World, number: signal.Signals
) -> None:
    own_world.start()
    answered: list[float] = []
    with lmtp(own_world) as client:
        began = time.monotonic()
        while time.monotonic() - began < 2.5:
            assert client.deliver("ann@_peer.test")[0][0] == 250
            answered.append(time.monotonic())
        killed = time.monotonic()
        own_world.stop(number)
    (row,) = own_world.ctl("peers", "--json")
    older = sum(moment < killed - 1.0 for moment in answered)
    assert older > 20, "too few to prove anything"
    assert row["attempts"] == row["successes"] <= len(answered)
    assert row["attempts"] >= (older if number is signal.SIGKILL else len(answered))
    own_world.start()
    deliver(own_world, "ann@_peer.test")
    assert own_world.peers_row("_peer.test", "https", row["attempts"] + 1)


def test_an_open_breaker_shows_and_until_when(own_world: World) -> None:
    own_world.configure(attempt_timeout='"60s"')
    own_world.start()
    let_go = threading.Event()
    peer = own_world.peers[0]

    def hang(seen: Seen) -> tuple[int, dict[str, str], bytes]:
        let_go.wait(60)
        return accept_all(seen)

    deliver(own_world, "ann@_peer.test")
    own_world.peers_row("_peer.test", "https", 1)
    peer.script = hang
    letters = [threading.Thread(target=deliver, args=(own_world, f"u{n}@_peer.test")) for n in range(4)]
    for letter in letters:
        letter.start()

    def breaker(is_open: bool) -> dict[str, Any]:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            found: dict[str, Any] = own_world.ctl("peers", "show", "_peer.test", "--json")
            if (found["breaker_open_until"] is not None) == is_open:
                return found
        raise AssertionError(found)

    until = datetime.fromisoformat(breaker(True)["breaker_open_until"])
    # The attempts hang for five seconds before it opens, and are cut after sixty.
    assert timedelta(seconds=1) < until - datetime.now(UTC) < timedelta(seconds=56)
    let_go.set()
    for letter in letters:
        letter.join(20)
    (row,) = breaker(False)["roads"]
    assert row["attempts"] == 5
