"""Deliveries to a dead peer hold few resources, and no other delivery waits for them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from chatmail_milter.store.endpoints import Endpoints
from chatmail_milter.store.engine import open_store
from tests.blackbox.certificate import make_certificate
from tests.blackbox.relay.installed_relay import InstalledRelay, deliver, lmtp
from tests.blackbox.relay.raw_peer import ADDRESS, HTTPS, SMTP, PeerConnection, raw_peer, tls
from tests.chat.deadline import until

DEAD = "_dead.test"


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[InstalledRelay]:
    """A relay whose attempts may take longer than all else here does; not started."""
    relay = InstalledRelay(tmp_path)
    relay.configure(connect_timeout='"600s"', attempt_timeout='"600s"')
    relay.dns.zone[DEAD, "A"] = [ADDRESS]
    make_certificate(tmp_path / "dead.pem", (DEAD,))
    try:
        yield relay
    finally:
        relay.close()


def stay(talk: PeerConnection) -> None:
    """Take no part, longer than any attempt."""
    talk.gone.wait(700)


def patiently(relay: InstalledRelay, recipient: str) -> None:
    """Deliver, and wait for the answer longer than any attempt takes."""
    with lmtp(relay, timeout=700) as client:
        client.deliver(recipient)


def test_a_dead_domain_holds_its_own_places_and_no_others(relay: InstalledRelay) -> None:
    relay.peer()
    relay.prove(DEAD)
    living = [f"_live{number}.test" for number in range(19)]
    relay.dns.zone.update({(name, "A"): ["127.0.0.2"] for name in living})
    relay.start()
    with raw_peer(ADDRESS, stay, tls(relay.directory / "dead.pem")) as dead:
        waiting = [threading.Thread(target=patiently, args=(relay, f"u{n}@{DEAD}")) for n in range(16)]
        for one in waiting:
            one.start()
        until("all its places are taken", lambda: dead.connections == 16, 30, every=0.01)
        assert [deliver(relay, f"ann@{name}") for name in living] == [[HTTPS]] * 19
        # At first a 421; from when four have hung for five seconds, the other road.
        until("others for it go by SMTP", lambda: deliver(relay, f"v@{DEAD}") == [SMTP], 40)
        assert all(one.is_alive() for one in waiting), "they hang on"
        assert dead.connections == 16
    for one in waiting:
        one.join(120)
        assert not one.is_alive()


def test_after_a_failure_one_message_tries_again_and_no_other_waits_for_it(relay: InstalledRelay) -> None:
    engine = open_store(f"sqlite:///{relay.directory}/store.sqlite")
    # Its mark has run out.
    Endpoints(engine).failed(DEAD, "timeout", datetime.now(UTC) - timedelta(minutes=2), None)
    engine.dispose()
    relay.prove(DEAD)
    relay.start()
    tried = threading.Event()

    def behave(talk: PeerConnection) -> None:
        talk.request()
        tried.set()
        stay(talk)

    with raw_peer(ADDRESS, behave, tls(relay.directory / "dead.pem")) as dead:
        first = threading.Thread(target=patiently, args=(relay, f"ann@{DEAD}"))
        first.start()
        assert tried.wait(120)
        assert [deliver(relay, f"u{number}@{DEAD}") for number in range(5)] == [[SMTP]] * 5
        assert first.is_alive(), "it still waits"
        assert dead.connections == 1
    first.join(120)
    assert not first.is_alive()
