"""chatmail-push with a gateway that misbehaves, and with ends and new starts in between: nothing is lost."""

from __future__ import annotations

import contextlib
import itertools
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest

from tests.blackbox.certificate import make_certificate
from tests.blackbox.push.installed_push import World, discreet
from tests.chat.deadline import until
from tests.chat.gateway import Script, answer, hang

SECONDS = 30.0
NUMBERS = itertools.count(10000000)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with discreet(tmp_path) as world:
        yield world


@pytest.fixture
def alice(world: World) -> str:
    return world.someone(f"u{next(NUMBERS)}@a.test", "token-a")


def failed(world: World, times: int = 1) -> None:
    """Wait until that many attempts were seen to fail."""
    until("the gateway fails", lambda: world.log.count("outcome=failed") >= times, SECONDS, every=0.02)


def recovers(world: World, *tokens: str) -> None:
    """From now on the gateway answers: it is told of these tokens alone, and then nothing is left to tell."""
    world.gateway.script = answer(200)
    world.settled()
    # Counted from the world's beginning: a notice may have got through before this line.
    until("it is logged", lambda: world.log.count("outcome=told") >= len(tokens), SECONDS)
    assert {*world.gateway.told} == {*tokens}


def test_a_gateway_that_is_not_there_is_waited_for(world: World, alice: str) -> None:
    world.gateway.close()
    assert world.deliver(alice) == 204
    failed(world, 2)
    assert "reason=connect " in world.log
    world.gateway = world.new_gateway(world.gateway.port)
    recovers(world, "token-a")


def test_a_gateway_that_is_another_is_told_nothing(world: World, alice: str) -> None:
    world.gateway.close()
    other = world.directory / "other.pem"
    make_certificate(other, ("localhost",))
    impostor = world.new_gateway(world.gateway.port, other)
    assert world.deliver(alice) == 204
    failed(world, 2)
    assert "reason=tls " in world.log
    assert impostor.told == []
    impostor.close()
    world.gateway = world.new_gateway(impostor.port)
    recovers(world, "token-a")


def test_attempts_are_further_and_further_apart(world: World, alice: str) -> None:
    """After 50, 200 and 800 ms, less a fifth; a busy machine only makes it longer."""
    world.gateway.script = answer(500)
    assert world.deliver(alice) == 204
    failed(world, 4)
    assert [f"tries={number}" in world.log for number in range(1, 5)] == [True] * 4
    apart = [later - earlier for earlier, later in pairwise(world.gateway.times)]
    assert [seconds >= least for seconds, least in zip(apart, (0.04, 0.16, 0.64), strict=False)] == [True] * 3


def test_what_can_not_be_told_for_long_is_given_up(world: World, alice: str) -> None:
    world.restart(give_up="300ms")
    world.gateway.script = answer(500)
    assert world.deliver(alice) == 204
    until("it is given up", lambda: "reason=500,given-up" in world.log, SECONDS, every=0.02)
    world.gateway.told.clear()
    world.gateway.script = answer(200)
    assert world.deliver(alice) == 204
    assert world.settled() == ["token-a"]


def test_a_token_that_no_device_has_is_forgotten(world: World, alice: str) -> None:
    assert world.give(alice, "token-b") == b"O1\n"
    other = world.someone("other123@a.test", "token-a")

    def script(connection: object) -> bool:
        status = 410 if world.gateway.told[-1] == "token-a" else 200
        return answer(status)(connection)  # type: ignore[arg-type]

    world.gateway.script = script
    assert world.deliver(alice) == 204
    world.settled()
    assert world.tokens(alice) == {"token-b"}
    assert world.tokens(other) == set()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("script", [answer(500), hang], ids=["waiting", "under way"])
def test_a_notice_outlives_the_program(
    world: World, alice: str, number: signal.Signals, script: Script
) -> None:
    world.restart(timeout="500ms")
    world.gateway.script = script
    assert world.deliver(alice) == 204
    until("it is tried", lambda: world.gateway.told, SECONDS, every=0.01)
    world.stop(number)
    world.start()
    recovers(world, "token-a")


def test_a_delivery_while_the_program_is_away_waits_for_it(world: World, alice: str) -> None:
    assert world.stop() == 0
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(world.deliver, alice)
        world.start()
        assert waiting.result(SECONDS) == 204
    recovers(world, "token-a")


def test_no_delivery_is_lost_while_the_program_is_restarted_again_and_again(world: World) -> None:
    """Each to a token of its own, so that each must be told."""
    people = [world.someone(f"w{number:07}@a.test", f"token-{number}") for number in range(48)]

    def ready() -> int:
        return world.log.count("event=ready")

    with ThreadPoolExecutor(8) as pool:
        delivering = []
        for first in range(0, len(people), 12):
            delivering += [pool.submit(world.deliver, one) for one in people[first : first + 12]]
            starts = ready()
            assert world.stop() == 0
            world.start()
            until("it is ready", partial(lambda before: ready() > before, starts), SECONDS, every=0.02)
        assert [one.result(SECONDS) for one in delivering] == [204] * len(people)
    assert len(set(world.settled())) == len(people)


def test_an_anvil_that_is_away_keeps_nobody_from_being_told(world: World, alice: str) -> None:
    world.anvil.connected.add(alice)
    world.anvil.close()
    assert world.deliver(alice) == 204
    assert world.settled() == ["token-a"]
    assert "event=connections-unknown" in world.log


def test_one_who_is_always_to_be_told_is_told_though_connected(world: World, alice: str) -> None:
    world.restart(when="always")
    world.anvil.connected.add(alice)
    assert world.deliver(alice) == 204
    assert world.settled() == ["token-a"]
    assert world.anvil.asked == 0


def test_without_a_gateway_nobody_is_told_and_nothing_is_kept(world: World, alice: str) -> None:
    world.restart(gateway="")
    assert world.deliver(alice) == 204
    world.restart()
    assert world.deliver(world.someone("last1234@a.test", "token-last")) == 204
    assert world.settled() == ["token-last"]


def test_tokens_of_megabytes_are_refused_and_cost_no_memory(world: World, alice: str) -> None:
    assert world.give(alice, "token-b") == b"O1\n"
    before = world.peak_memory
    for size in (4097, 65_000, 66_000, 1 << 20, 64 << 20):
        assert world.give(alice, "x" * size).startswith(b"F1\t")
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: world.give(alice, "x" * (1 << 20)), range(64)))
    assert all(one.startswith(b"F1\t") for one in answers)
    assert world.peak_memory - before < 24 << 20
    assert world.tokens(alice) == {"token-a", "token-b"}


def test_those_who_connect_and_say_nothing_are_soon_left(world: World, alice: str) -> None:
    """More of them than there are places; on the other socket nobody notices."""
    with contextlib.ExitStack() as silent:
        for _ in range(40):
            silent.enter_context(world.connect())
        assert world.tokens(alice) == {"token-a"}
        assert world.deliver(alice) == 204
    assert world.settled() == ["token-a"]


def test_what_is_not_the_protocol_ends_that_connection_alone(world: World, alice: str) -> None:
    for nonsense in (b"X", b"\xff" * 1000, b"L" + b"x" * 100_000, b"C7", b""):
        assert world.dict(nonsense) == b""
    assert world.tokens(alice) == {"token-a"}
    world.stop()
    assert "event=dict-protocol" in world.log
