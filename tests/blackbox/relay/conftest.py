"""One relay for a module, one peer, a domain for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.blackbox.relay.installed_relay import (
    HASTY,
    NUMBERS,
    Peer,
    World,
    accept_all,
    refuse_the_empty,
)
from tests.blackbox.relay.raw_peer import ADDRESS


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = World(tmp_path_factory.mktemp("relay"))
    try:
        world.peer()
        world.start()
        yield world
    finally:
        world.close()


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """As `world`, of which a module has one or the other; but its attempts are soon given up."""
    world = World(tmp_path_factory.mktemp("relay"))
    world.configure(**HASTY)
    try:
        world.peer()
        world.start()
        yield world
    finally:
        world.close()


@pytest.fixture
def peer(world: World) -> Peer:
    peer = world.peers[0]
    peer.script = accept_all
    peer.proof = refuse_the_empty
    peer.seen.clear()
    peer.probes.clear()
    world.sink.taken.clear()
    world.sink.refuse.clear()
    return peer


@pytest.fixture
def domain(world: World) -> str:
    """A domain of its own for each test, at the peer's address, that has proved itself."""
    name = f"_d{next(NUMBERS)}.test"
    world.dns.zone[name, "A"] = ["127.0.0.2"]
    world.prove(name)
    return name


@pytest.fixture
def unproven(world: World) -> str:
    """The same, of which nothing is known."""
    name = f"_d{next(NUMBERS)}.test"
    world.dns.zone[name, "A"] = ["127.0.0.2"]
    return name


@pytest.fixture
def ill(world: World) -> str:
    """A domain at `raw_peer.ADDRESS` that has proved itself; its certificate is not looked at."""
    name = f"_d{next(NUMBERS)}.test"
    world.dns.zone[name, "A"] = [ADDRESS]
    world.prove(name)
    return name
