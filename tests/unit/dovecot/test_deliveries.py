"""Deliveries that Dovecot posts: who is listened to, and what of it is handed on."""

from __future__ import annotations

import json
import queue
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from mxdeliv_app.dovecot.deliveries import delivery_listener, secret_path

PATH = "/" + "5ec2e7" * 8
EVENT = {"event": "mail_delivery_finished", "fields": {"user": "u12345678@_a.lab", "message_size": 746}}


@pytest.fixture
def posted() -> Iterator[tuple[str, queue.Queue[str]]]:
    """The URL of a running server, and the users that it hands on."""
    users: queue.Queue[str] = queue.Queue()
    listening = socket.create_server(("127.0.0.1", 0))
    running = delivery_listener(listening, PATH, lambda delivery: users.put(delivery.user))
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
            # An event on a connection that is kept would be lost where a restart closes it.
            assert answer.headers["Connection"] == "close"
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


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (f"POST {PATH} HTTP/1.1\r\ncontent-LENGTH:  2 \r\n\r\n", 400),  # is read, and {} is no event
        (f"GET {PATH} HTTP/1.1\r\n\r\n", 400),
        (f"POST {PATH}\r\n\r\n", 400),
        ("\r\n", 400),
        (f"POST {PATH} HTTP/1.1\r\n\r\n", 413),
        (f"POST {PATH} HTTP/1.1\r\nContent-Length: -2\r\n\r\n", 413),
        (f"POST {PATH} HTTP/1.1\r\nContent-Length: {'9' * 5000}\r\n\r\n", 413),
        (f"POST {PATH} HTTP/1.1\r\n" + 50 * "A: b\r\n", 400),
    ],
)
def test_what_is_no_post_of_an_event_is_refused(
    posted: tuple[str, queue.Queue[str]], head: str, status: int
) -> None:
    url, users = posted
    where = urlsplit(url)
    with socket.create_connection((where.hostname, where.port), 120) as connection:
        connection.sendall(head.encode() + b"{}")
        connection.shutdown(socket.SHUT_WR)
        assert connection.makefile("rb").readline().split()[:2] == [b"HTTP/1.1", b"%d" % status]
    assert users.empty()


def test_as_many_connections_as_there_are_threads_are_served_and_the_next_one_waits(
    posted: tuple[str, queue.Queue[str]],
) -> None:
    url, users = posted
    where = urlsplit(url)
    silent = [socket.create_connection((where.hostname, where.port), 120) for _ in range(32)]
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(requests.post, url, json=EVENT, timeout=120)
        for one in silent:
            one.close()
        assert answer.result().status_code == 204
    assert users.get(timeout=120) == "u12345678@_a.lab"


@pytest.mark.parametrize("url", [None, "", "http://127.0.0.1:1/short", "\xff" * 64])
def test_without_a_secret_nobody_is_listened_to(
    tmp_path: Path, url: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "deliveries.url"
    if url is not None:
        file.write_text(url, "latin-1")
    with pytest.raises(SystemExit) as ended:
        secret_path("chatmail-wake", file)
    assert ended.value.code == 78
    assert capsys.readouterr().err.startswith("chatmail-wake: the ")


def test_too_much_is_not_read(posted: tuple[str, queue.Queue[str]]) -> None:
    url, users = posted
    event = json.dumps(EVENT | {"padding": "x" * (1 << 20)})
    assert requests.post(url, data=event, timeout=120).status_code == 413
    assert users.empty()
