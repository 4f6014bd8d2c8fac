"""chatmail-push as Dovecot and a gateway meet it: whom it tells of new mail, when, and of what."""

from __future__ import annotations

import itertools
import os
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.blackbox.push.installed_push import SECRET_PATH, World
from tests.blackbox.relay.installed_relay import BIN
from tests.chat.deadline import until
from tests.chat.gateway import answer, says

SECONDS = 20.0
NUMBERS = itertools.count(10000000)


@pytest.fixture(scope="module")
def _world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = World(tmp_path_factory.mktemp("push"))
    world.start()
    yield world
    # Whatever the tests here did, nobody is named, and no token.
    assert "event=notice outcome=told" in world.log
    for secret in ("token", "@", SECRET_PATH[1:]):
        assert secret not in world.log.replace("event=tokens-too-old", "")
    assert "event=bug" not in world.log
    world.close()


@pytest.fixture
def world(_world: World) -> World:
    _world.gateway.script = answer(200)
    _world.gateway.told.clear()
    _world.gateway.requests.clear()
    _world.anvil.connected.clear()
    return _world


@pytest.fixture
def alice() -> str:
    """An address of its own for each test."""
    return f"u{next(NUMBERS)}@a.test"


def test_each_token_is_told_and_nothing_is_told_but_the_token(world: World, alice: str) -> None:
    world.someone(alice, "openpgp:token-1+/==", "token-2")
    assert world.deliver(alice) == 204
    assert world.settled() == ["openpgp:token-1+/==", "token-2"]
    for request in world.gateway.requests:
        assert request.startswith(b"POST /notify?v=1 HTTP/1.1\r\n")
        for secret in (alice.encode(), b"a.test", b"b.test", b"bob12345", b"[...]"):
            assert secret not in request


def test_nobody_is_told_while_a_client_is_connected(world: World, alice: str) -> None:
    world.someone(alice, "token-connected")
    world.anvil.connected.add(alice)
    assert world.deliver(alice) == 204
    assert world.settled() == []
    world.anvil.connected.clear()
    world.gateway.told.clear()
    assert world.deliver(alice) == 204
    assert world.settled() == ["token-connected"]


def test_others_who_are_connected_keep_nobody_from_being_told(world: World, alice: str) -> None:
    world.someone(alice, "token-alone")
    world.anvil.connected |= {f"x{alice}", f"{alice}.example", "bob12345@a.test"}
    assert world.deliver(alice) == 204
    assert world.settled() == ["token-alone"]


@pytest.mark.parametrize("form", [str, str.upper])
def test_nobody_is_told_of_mail_to_oneself(world: World, alice: str, form: type[str]) -> None:
    world.someone(alice, "token-self")
    assert world.deliver(alice, form(alice)) == 204
    assert world.deliver(alice, message_from=alice) == 204
    assert world.settled() == []


def test_a_bounce_is_told(world: World, alice: str) -> None:
    world.someone(alice, "token-bounce")
    assert world.deliver(alice, "", message_from="mailer-daemon@a.test") == 204
    assert world.settled() == ["token-bounce"]


def test_nobody_is_told_of_what_was_not_delivered(world: World, alice: str) -> None:
    world.someone(alice, "token-failed")
    assert world.deliver(alice, error="Quota exceeded") == 204
    assert world.settled() == []


def test_who_gave_no_token_is_no_matter(world: World, alice: str) -> None:
    world.someone(alice)
    asked = world.anvil.asked
    for user in (alice, "nobody12@a.test", "no address", f"{alice}\n", alice.upper()):
        assert world.deliver(user) == 204
    assert world.anvil.asked == asked
    assert world.settled() == []


def test_much_mail_at_once_is_not_as_many_notices(world: World, alice: str) -> None:
    """One that is on its way, then one for what came meanwhile."""
    go = threading.Event()

    def held(connection: ssl.SSLSocket) -> bool:
        assert go.wait(120)
        return answer(200)(connection)

    world.someone(alice, "token-burst")
    world.gateway.script = held
    assert world.deliver(alice) == 204
    until("the first is on its way", lambda: world.gateway.told, SECONDS, every=0.01)
    for _ in range(50):
        assert world.deliver(alice) == 204
    go.set()
    assert world.settled() == ["token-burst"] * 2


def test_a_gateway_may_close_its_connection_after_each_answer(world: World, alice: str) -> None:
    world.gateway.script = says(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    for number in range(5):
        someone = world.someone(f"v{number}{alice[3:]}", f"token-close-{number}")
        assert world.deliver(someone) == 204
    assert world.settled() == [f"token-close-{number}" for number in range(5)]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b'{"fields": {"user": 1}}', 400),
        (b"[" * 100000, 400),
        (b'{"fields": {"user": "x", "message_subject": "\xff"}}', 204),
        (b"x" * ((1 << 20) + 1), 413),
    ],
)
def test_what_is_no_delivery_is_refused(world: World, body: bytes, status: int) -> None:
    try:
        assert world.post(body) == status
    except OSError:
        # It hung up on what is too much, and the kernel may have thrown its answer away.
        assert status == 413


def test_only_who_knows_the_path_is_listened_to(world: World, alice: str) -> None:
    world.someone(alice, "token-path")
    event = b'{"fields": {"user": "%s"}}' % alice.encode()
    for url in (world.url[:-1], f"{world.url}/", world.url.replace(SECRET_PATH, "/")):
        assert world.post(event, url) == 404
    assert world.settled() == []


@pytest.mark.parametrize(
    ("text", "url", "says"),
    [
        ('gateway = "http://x/"', f"http://127.0.0.1:1{SECRET_PATH}", "push.gateway: wants an https: URL"),
        ("", "http://127.0.0.1:1/short", "the path is too short"),
        ("", None, "the URL for deliveries can't be read"),
        ("", f"http://127.0.0.1:1{SECRET_PATH}", "start it by its systemd socket units"),
    ],
)
def test_a_bad_environment_is_one_line_and_no_start(
    tmp_path: Path, text: str, url: str | None, says: str
) -> None:
    (tmp_path / "chatmail.toml").write_text(f'[mail]\ndomain = "a.test"\n[push]\n{text}\n')
    if url is not None:
        (tmp_path / "url").write_text(url)
    environment = {
        "CHATMAIL_CONFIG": str(tmp_path / "chatmail.toml"),
        "CHATMAIL_PUSH_URL": str(tmp_path / "url"),
    }
    ran = subprocess.run(
        [BIN / "chatmail-push"],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 78
    assert says in ran.stderr
    assert ran.stderr.count("\n") == 1
