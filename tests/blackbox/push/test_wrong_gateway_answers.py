"""`chatmail-push` sends each notice in the end, though the gateway first answers in any wrong way."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from tests.blackbox.push.installed_push import InstalledPush, discreet
from tests.chat.deadline import until
from tests.chat.gateway import Script, answer, drip, hang, says

SECONDS = 30.0
NUMBERS = itertools.count(10000000)


@pytest.fixture(scope="module")
def _push(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InstalledPush]:
    with discreet(tmp_path_factory.mktemp("push")) as push:
        push.restart(timeout="500ms")
        yield push


@pytest.fixture
def push(_push: InstalledPush) -> InstalledPush:
    _push.gateway.told.clear()
    return _push


@pytest.fixture
def alice(push: InstalledPush) -> str:
    """An account of its own for each test, with one token."""
    return push.someone(f"u{next(NUMBERS)}@a.test", "token-a")


ILL: dict[str, Script] = {
    "500": answer(500, b"token-a"),
    "503 and a long body": answer(503, b"x" * (1 << 20)),
    "404": answer(404),
    "400": answer(400),
    "429": answer(429, b"", "Retry-After: 1"),
    "a redirect": answer(301, b"", "Location: https://localhost:1/"),
    "an interim answer and no other": says(b"HTTP/1.1 100 Continue\r\n\r\n"),
    "no HTTP": says(b"SSH-2.0-OpenSSH_9.2\r\n" * 1000),
    "octets": says(bytes(range(256)) * 100),
    "a status that is none": says(b"HTTP/1.1 2OO OK\r\n\r\n"),
    "fields without end": says(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100000),
    "nothing": says(b""),
    "silence": hang,
    "a field that never ends": drip,
}


@pytest.mark.parametrize("kind", ILL)
def test_a_notice_outlives_a_gateway_that_is_ill(push: InstalledPush, alice: str, kind: str) -> None:
    before = push.log.count("outcome=failed")
    push.gateway.script = ILL[kind]
    assert push.deliver(alice) == 204
    until("it fails twice", lambda: push.log.count("outcome=failed") >= before + 2, SECONDS, every=0.02)
    assert push.tokens(alice) == {"token-a"}
    push.gateway.script = answer(200)
    assert set(push.settled()) == {"token-a"}


def test_an_answer_counts_though_its_body_is_endless_or_cut(push: InstalledPush, alice: str) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"
    push.gateway.script = says(head + b"x" * 100)
    assert push.deliver(alice) == 204
    assert set(push.settled()) == {"token-a"}
