"""One relay for a module, one peer, a domain for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.blackbox.relay.installed_relay import (
    HASTY,
    NUMBERS,
    InstalledRelay,
    ScriptedPeer,
    accept_all,
    refuse_the_empty,
    running,
)
from tests.blackbox.relay.raw_peer import ADDRESS


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InstalledRelay]:
    relay = InstalledRelay(tmp_path_factory.mktemp("relay"))
    with running(relay):
        yield relay


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InstalledRelay]:
    """As `relay`, of which a module has one or the other; but its attempts are soon given up."""
    relay = InstalledRelay(tmp_path_factory.mktemp("relay"))
    relay.configure(**HASTY)
    with running(relay):
        yield relay


@pytest.fixture
def peer(relay: InstalledRelay) -> ScriptedPeer:
    peer = relay.peers[0]
    peer.script = accept_all
    peer.proof = refuse_the_empty
    peer.seen.clear()
    peer.probes.clear()
    relay.sink.taken.clear()
    relay.sink.refuse.clear()
    return peer


@pytest.fixture
def domain(relay: InstalledRelay) -> str:
    """A domain of its own for each test, at the peer's address, that has proved itself."""
    name = f"_d{next(NUMBERS)}.test"
    relay.dns.zone[name, "A"] = ["127.0.0.2"]
    relay.prove(name)
    return name


@pytest.fixture
def unproven(relay: InstalledRelay) -> str:
    """The same, of which nothing is known."""
    name = f"_d{next(NUMBERS)}.test"
    relay.dns.zone[name, "A"] = ["127.0.0.2"]
    return name


@pytest.fixture
def ill(relay: InstalledRelay) -> str:
    """A domain at `raw_peer.ADDRESS` that has proved itself; its certificate is not looked at."""
    name = f"_d{next(NUMBERS)}.test"
    relay.dns.zone[name, "A"] = [ADDRESS]
    relay.prove(name)
    return name
