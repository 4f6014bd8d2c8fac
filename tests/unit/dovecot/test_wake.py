"""`chatmail-wake` pokes the mailbox of each reported delivery twice, and no other mailbox."""

from __future__ import annotations

import json
import queue
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from mxdeliv_app.dovecot import wake
from mxdeliv_app.dovecot.secret_url import secret_path
from mxdeliv_app.dovecot.wake import Waker, inbox, server

PATH = "/" + "5ec2e7" * 8
EVENT = {"event": "mail_delivery_finished", "fields": {"user": "u12345678@_a.lab", "message_size": 746}}


@pytest.fixture
def posted() -> Iterator[tuple[str, queue.Queue[str]]]:
    """The URL of a running server, and the users that it hands on."""
    users: queue.Queue[str] = queue.Queue()
    listening = socket.create_server(("127.0.0.1", 0))
    running = server(listening, PATH, users.put)
    thread = threading.Thread(target=running.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}{PATH}", users
    running.shutdown()
    thread.join()
    running.server_close()


def test_the_user_of_a_delivery_is_handed_on(posted: tuple[str, queue.Queue[str]]) -> None:
    url, users = posted
    with requests.Session() as session:
        for _ in range(2):
            answer = session.post(url, json=EVENT, timeout=120)
            assert (answer.status_code, answer.content) == (204, b"")
    assert [users.get(timeout=120) for _ in range(2)] == ["u12345678@_a.lab"] * 2


@pytest.mark.parametrize("path", ["/", "/new-mail", PATH[:-1], f"{PATH}x", PATH.upper(), f"{PATH}?x"])
def test_who_does_not_know_the_path_is_not_listened_to(
    posted: tuple[str, queue.Queue[str]], path: str
) -> None:
    url, users = posted
    assert requests.post(url.replace(PATH, path), json=EVENT, timeout=120).status_code == 404
    assert users.empty()


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"fields": {}}', b'{"fields": {"user": 1}}', b"\xff"])
def test_anything_else_is_refused(posted: tuple[str, queue.Queue[str]], body: bytes) -> None:
    url, users = posted
    assert requests.post(url, data=body, timeout=120).status_code == 400
    assert users.empty()


@pytest.mark.parametrize("url", [None, "", "http://127.0.0.1:1/short", "\xff" * 64])
def test_without_a_secret_nobody_is_listened_to(
    tmp_path: Path, url: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "wake.url"
    if url is not None:
        file.write_text(url, "latin-1")
    with pytest.raises(SystemExit) as ended:
        secret_path("chatmail-wake", file)
    assert ended.value.code == 78
    assert capsys.readouterr().err.startswith("chatmail-wake: the ")


def test_too_much_is_not_read(posted: tuple[str, queue.Queue[str]]) -> None:
    url, users = posted
    event = json.dumps(EVENT | {"padding": "x" * (64 << 10)})
    assert requests.post(url, data=event, timeout=120).status_code == 413
    assert users.empty()


@pytest.mark.parametrize(
    "user", ["", "nobody", "../../x@_a.lab", "a/../b@_a.lab", "x@../y", "U12345678@_a.lab", "x@_a.lab\n"]
)
def test_what_is_no_canonical_address_leads_nowhere(user: str) -> None:
    assert inbox(Path("/mail"), user) is None


def test_mailbox_is_stirred_after_each_delay_and_left_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stirred: queue.Queue[tuple[float, Path]] = queue.Queue()
    stir = wake.poke_maildir

    def stir_and_tell(directory: Path) -> None:
        stir(directory)
        stirred.put((time.monotonic(), directory))

    monkeypatch.setattr(wake, "poke_maildir", stir_and_tell)
    new = tmp_path / "_a.lab" / "u12345678" / "Maildir" / "new"
    new.mkdir(parents=True)
    before = new.stat().st_mtime_ns
    waker = Waker(tmp_path, delays=(0.01, 0.05))
    waker.delivered("gone56789@_a.lab")
    began = time.monotonic()
    waker.delivered("u12345678@_a.lab")
    for delay in (0.01, 0.05):
        at, directory = stirred.get(timeout=120)
        assert at >= began + delay
        assert directory == new
    assert stirred.empty()
    assert new.stat().st_mtime_ns > before
    assert list(new.iterdir()) == []


def test_first_time_is_after_dovecot_put_the_client_to_sleep_and_the_last_after_it_forgot() -> None:
    # imap_hibernate_timeout, which Dovecot takes times 1000 in 32 bits, and mailbox-watch.c's delay.
    asleep, forgotten = 42949673 * 1000 % (1 << 32) / 1000, 0.5
    first, last = wake.DELAYS
    assert asleep < first < 2 * asleep
    assert last > forgotten
