"""`chatmail-push` sends the right notices: for which users, when, and with what content."""

from __future__ import annotations

import itertools
import os
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.blackbox.push.installed_push import SECRET_PATH, InstalledPush
from tests.blackbox.relay.installed_relay import BIN
from tests.chat.deadline import until
from tests.chat.gateway import answer, says

SECONDS = 20.0
NUMBERS = itertools.count(10000000)


@pytest.fixture(scope="module")
def _push(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InstalledPush]:
    push = InstalledPush(tmp_path_factory.mktemp("push"))
    push.start()
    yield push
    # Whatever the tests here did, nobody is named, and no token.
    assert "event=notice outcome=told" in push.log
    for secret in ("token", "@", SECRET_PATH[1:]):
        assert secret not in push.log.replace("event=tokens-too-old", "")
    assert "event=bug" not in push.log
    push.close()


@pytest.fixture
def push(_push: InstalledPush) -> InstalledPush:
    _push.gateway.script = answer(200)
    _push.gateway.told.clear()
    _push.gateway.requests.clear()
    _push.anvil.connected.clear()
    return _push


@pytest.fixture
def alice() -> str:
    """An address of its own for each test."""
    return f"u{next(NUMBERS)}@a.test"


def test_each_token_is_told_and_nothing_is_told_but_the_token(push: InstalledPush, alice: str) -> None:
    push.someone(alice, "openpgp:token-1+/==", "token-2")
    assert push.deliver(alice) == 204
    assert push.settled() == ["openpgp:token-1+/==", "token-2"]
    for request in push.gateway.requests:
        assert request.startswith(b"POST /notify?v=1 HTTP/1.1\r\n")
        for secret in (alice.encode(), b"a.test", b"b.test", b"bob12345", b"[...]"):
            assert secret not in request


def test_nobody_is_told_while_a_client_is_connected(push: InstalledPush, alice: str) -> None:
    push.someone(alice, "token-connected")
    push.anvil.connected.add(alice)
    assert push.deliver(alice) == 204
    assert push.settled() == []
    push.anvil.connected.clear()
    push.gateway.told.clear()
    assert push.deliver(alice) == 204
    assert push.settled() == ["token-connected"]


def test_others_who_are_connected_keep_nobody_from_being_told(push: InstalledPush, alice: str) -> None:
    push.someone(alice, "token-alone")
    push.anvil.connected |= {f"x{alice}", f"{alice}.example", "bob12345@a.test"}
    assert push.deliver(alice) == 204
    assert push.settled() == ["token-alone"]


@pytest.mark.parametrize("form", [str, str.upper])
def test_nobody_is_told_of_mail_to_oneself(push: InstalledPush, alice: str, form: type[str]) -> None:
    push.someone(alice, "token-self")
    assert push.deliver(alice, form(alice)) == 204
    assert push.deliver(alice, message_from=alice) == 204
    assert push.settled() == []


def test_a_bounce_is_told(push: InstalledPush, alice: str) -> None:
    push.someone(alice, "token-bounce")
    assert push.deliver(alice, "", message_from="mailer-daemon@a.test") == 204
    assert push.settled() == ["token-bounce"]


def test_nobody_is_told_of_what_was_not_delivered(push: InstalledPush, alice: str) -> None:
    push.someone(alice, "token-failed")
    assert push.deliver(alice, error="Quota exceeded") == 204
    assert push.settled() == []


def test_who_gave_no_token_is_no_matter(push: InstalledPush, alice: str) -> None:
    push.someone(alice)
    asked = push.anvil.asked
    for user in (alice, "nobody12@a.test", "no address", f"{alice}\n", alice.upper()):
        assert push.deliver(user) == 204
    assert push.anvil.asked == asked
    assert push.settled() == []


def test_much_mail_at_once_is_not_as_many_notices(push: InstalledPush, alice: str) -> None:
    """One that is on its way, then one for what came meanwhile."""
    go = threading.Event()

    def held(connection: ssl.SSLSocket) -> bool:
        assert go.wait(120)
        return answer(200)(connection)

    push.someone(alice, "token-burst")
    push.gateway.script = held
    assert push.deliver(alice) == 204
    until("the first is on its way", lambda: push.gateway.told, SECONDS, every=0.01)
    for _ in range(50):
        assert push.deliver(alice) == 204
    go.set()
    assert push.settled() == ["token-burst"] * 2


def test_a_gateway_may_close_its_connection_after_each_answer(push: InstalledPush, alice: str) -> None:
    push.gateway.script = says(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    for number in range(5):
        someone = push.someone(f"v{number}{alice[3:]}", f"token-close-{number}")
        assert push.deliver(someone) == 204
    assert push.settled() == [f"token-close-{number}" for number in range(5)]


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
def test_what_is_no_delivery_is_refused(push: InstalledPush, body: bytes, status: int) -> None:
    try:
        assert push.post(body) == status
    except OSError:
        # It hung up on what is too much, and the kernel may have thrown its answer away.
        assert status == 413


def test_only_who_knows_the_path_is_listened_to(push: InstalledPush, alice: str) -> None:
    push.someone(alice, "token-path")
    event = b'{"fields": {"user": "%s"}}' % alice.encode()
    for url in (push.url[:-1], f"{push.url}/", push.url.replace(SECRET_PATH, "/")):
        assert push.post(event, url) == 404
    assert push.settled() == []


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
