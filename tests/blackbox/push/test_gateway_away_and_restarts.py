"""`chatmail-push` loses no notice when the gateway fails or the program is restarted."""

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
from tests.blackbox.push.installed_push import InstalledPush, discreet
from tests.chat.deadline import until
from tests.chat.gateway import Script, answer, hang

SECONDS = 30.0
NUMBERS = itertools.count(10000000)


@pytest.fixture
def push(tmp_path: Path) -> Iterator[InstalledPush]:
    with discreet(tmp_path) as push:
        yield push


@pytest.fixture
def alice(push: InstalledPush) -> str:
    return push.someone(f"u{next(NUMBERS)}@a.test", "token-a")


def failed(push: InstalledPush, times: int = 1) -> None:
    """Wait until that many attempts were seen to fail."""
    until("the gateway fails", lambda: push.log.count("outcome=failed") >= times, SECONDS, every=0.02)


def recovers(push: InstalledPush, *tokens: str) -> None:
    """From now on the gateway answers: it is told of these tokens alone, and then nothing is left to tell."""
    push.gateway.script = answer(200)
    push.settled()
    # Counted from the program's start: a notice may have got through before this line.
    until("it is logged", lambda: push.log.count("outcome=told") >= len(tokens), SECONDS)
    assert {*push.gateway.told} == {*tokens}


def test_a_gateway_that_is_not_there_is_waited_for(push: InstalledPush, alice: str) -> None:
    push.gateway.close()
    assert push.deliver(alice) == 204
    failed(push, 2)
    assert "reason=connect " in push.log
    push.gateway = push.new_gateway(push.gateway.port)
    recovers(push, "token-a")


def test_a_gateway_that_is_another_is_told_nothing(push: InstalledPush, alice: str) -> None:
    push.gateway.close()
    other = push.directory / "other.pem"
    make_certificate(other, ("localhost",))
    impostor = push.new_gateway(push.gateway.port, other)
    assert push.deliver(alice) == 204
    failed(push, 2)
    assert "reason=tls " in push.log
    assert impostor.told == []
    impostor.close()
    push.gateway = push.new_gateway(impostor.port)
    recovers(push, "token-a")


def test_attempts_are_further_and_further_apart(push: InstalledPush, alice: str) -> None:
    """After 50, 200 and 800 ms, less a fifth; a busy machine only makes it longer."""
    push.gateway.script = answer(500)
    assert push.deliver(alice) == 204
    failed(push, 4)
    assert [f"tries={number}" in push.log for number in range(1, 5)] == [True] * 4
    apart = [later - earlier for earlier, later in pairwise(push.gateway.times)]
    assert [seconds >= least for seconds, least in zip(apart, (0.04, 0.16, 0.64), strict=False)] == [True] * 3


def test_what_can_not_be_told_for_long_is_given_up(push: InstalledPush, alice: str) -> None:
    push.restart(give_up="300ms")
    push.gateway.script = answer(500)
    assert push.deliver(alice) == 204
    until("it is given up", lambda: "reason=500,given-up" in push.log, SECONDS, every=0.02)
    push.gateway.told.clear()
    push.gateway.script = answer(200)
    assert push.deliver(alice) == 204
    assert push.settled() == ["token-a"]


def test_a_token_that_no_device_has_is_forgotten(push: InstalledPush, alice: str) -> None:
    assert push.give(alice, "token-b") == b"O1\n"
    other = push.someone("other123@a.test", "token-a")

    def script(connection: object) -> bool:
        status = 410 if push.gateway.told[-1] == "token-a" else 200
        return answer(status)(connection)  # type: ignore[arg-type]

    push.gateway.script = script
    assert push.deliver(alice) == 204
    push.settled()
    assert push.tokens(alice) == {"token-b"}
    assert push.tokens(other) == set()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("script", [answer(500), hang], ids=["waiting", "under way"])
def test_a_notice_outlives_the_program(
    push: InstalledPush, alice: str, number: signal.Signals, script: Script
) -> None:
    push.restart(timeout="500ms")
    push.gateway.script = script
    assert push.deliver(alice) == 204
    until("it is tried", lambda: push.gateway.told, SECONDS, every=0.01)
    push.stop(number)
    push.start()
    recovers(push, "token-a")


def test_a_delivery_while_the_program_is_away_waits_for_it(push: InstalledPush, alice: str) -> None:
    assert push.stop() == 0
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(push.deliver, alice)
        push.start()
        assert waiting.result(SECONDS) == 204
    recovers(push, "token-a")


def test_no_delivery_is_lost_while_the_program_is_restarted_again_and_again(push: InstalledPush) -> None:
    """Each to a token of its own, so that each must be told."""
    people = [push.someone(f"w{number:07}@a.test", f"token-{number}") for number in range(48)]

    def ready() -> int:
        return push.log.count("event=ready")

    with ThreadPoolExecutor(8) as pool:
        delivering = []
        for first in range(0, len(people), 12):
            delivering += [pool.submit(push.deliver, one) for one in people[first : first + 12]]
            starts = ready()
            assert push.stop() == 0
            push.start()
            until("it is ready", partial(lambda before: ready() > before, starts), SECONDS, every=0.02)
        assert [one.result(SECONDS) for one in delivering] == [204] * len(people)
    assert len(set(push.settled())) == len(people)


def test_an_anvil_that_is_away_keeps_nobody_from_being_told(push: InstalledPush, alice: str) -> None:
    push.anvil.connected.add(alice)
    push.anvil.close()
    assert push.deliver(alice) == 204
    assert push.settled() == ["token-a"]
    assert "event=connections-unknown" in push.log


def test_one_who_is_always_to_be_told_is_told_though_connected(push: InstalledPush, alice: str) -> None:
    push.restart(when="always")
    push.anvil.connected.add(alice)
    assert push.deliver(alice) == 204
    assert push.settled() == ["token-a"]
    assert push.anvil.asked == 0


def test_without_a_gateway_nobody_is_told_and_nothing_is_kept(push: InstalledPush, alice: str) -> None:
    push.restart(gateway="")
    assert push.deliver(alice) == 204
    push.restart()
    assert push.deliver(push.someone("last1234@a.test", "token-last")) == 204
    assert push.settled() == ["token-last"]


def test_tokens_of_megabytes_are_refused_and_cost_no_memory(push: InstalledPush, alice: str) -> None:
    assert push.give(alice, "token-b") == b"O1\n"
    before = push.peak_memory
    for size in (4097, 65_000, 66_000, 1 << 20, 64 << 20):
        assert push.give(alice, "x" * size).startswith(b"F1\t")
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: push.give(alice, "x" * (1 << 20)), range(64)))
    assert all(one.startswith(b"F1\t") for one in answers)
    assert push.peak_memory - before < 24 << 20
    assert push.tokens(alice) == {"token-a", "token-b"}


def test_those_who_connect_and_say_nothing_are_soon_left(push: InstalledPush, alice: str) -> None:
    """More of them than there are places; on the other socket nobody notices."""
    with contextlib.ExitStack() as silent:
        for _ in range(40):
            silent.enter_context(push.connect())
        assert push.tokens(alice) == {"token-a"}
        assert push.deliver(alice) == 204
    assert push.settled() == ["token-a"]


def test_what_is_not_the_protocol_ends_that_connection_alone(push: InstalledPush, alice: str) -> None:
    for nonsense in (b"X", b"\xff" * 1000, b"L" + b"x" * 100_000, b"C7", b""):
        assert push.dict(nonsense) == b""
    assert push.tokens(alice) == {"token-a"}
    push.stop()
    assert "event=dict-protocol" in push.log
