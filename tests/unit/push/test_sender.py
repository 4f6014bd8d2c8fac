"""The retries of a notice, and the query to Dovecot for connected users."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from mxdeliv_app.push.connections import ConnectedUsers, users
from mxdeliv_app.push.sender import delay
from tests.chat.deadline import until

ALICE, BOB = "alice123@a.example", "bob12345@[1.2.3.4]"
DUMP = f"imap/198.51.100.7/{ALICE}\t53\t1\nimap/2001:db8::1/{BOB}\t36\t2\nlmtp/dave1234@a.example\t7\t1\n\n"


def test_delays_grow_to_an_hour_and_spread_by_a_fifth() -> None:
    assert [delay(tries, 5, 0.5) for tries in range(1, 9)] == [5, 20, 80, 320, 1280, 3600, 3600, 3600]
    assert (delay(1, 5, 0), delay(1, 5, 1)) == pytest.approx((4, 6))
    assert delay(10_000, 5, 0.5) == 3600


def test_users_are_those_with_an_imap_client() -> None:
    assert list(users(DUMP.encode())) == [ALICE, BOB]
    assert list(users(b"\n")) == []
    assert set(users(b"imap\nimap/\nimap/x\n\xff\t\n\t\n")) == {""}


@contextmanager
def anvil(path: Path, answers: Iterator[bytes], go: threading.Event) -> Iterator[list[int]]:
    """An anvil that gives these answers, one a connection, each when it may `go`."""
    asked = [0]
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen(64)

    def run() -> None:
        for answer in answers:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                asked[0] += 1
                while not connection.recv(1024).endswith(b"CONNECT-DUMP\n"):
                    pass
                assert go.wait(120)
                connection.sendall(answer)

    thread = threading.Thread(target=run)
    thread.start()
    yield asked
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    thread.join()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "anvil"


def at_once() -> threading.Event:
    event = threading.Event()
    event.set()
    return event


def test_one_answer_serves_all_who_asked_before_it_was_begun(path: Path) -> None:
    """The first is asked alone; the forty that come meanwhile may not take its answer, and share the next."""
    go = threading.Event()
    connections = ConnectedUsers(str(path))
    with anvil(path, iter([b"\n", DUMP.encode()]), go) as asked, ThreadPoolExecutor(41) as pool:
        first = pool.submit(connections.has, ALICE)
        until("the first is asked", lambda: asked[0] == 1, 10, every=0.01)
        later = [pool.submit(connections.has, ALICE) for _ in range(40)]
        until("the others wait", lambda: waiting(connections) == 40, 10, every=0.01)
        go.set()
        assert [one.result(120) for one in (first, *later)] == [False] + [True] * 40
        assert asked == [2]


def waiting(connections: ConnectedUsers) -> int:
    """How many threads wait for an answer that others get for them."""
    return len(connections._changed._waiters)  # type: ignore[attr-defined]


def test_what_was_said_before_is_not_said_again(path: Path) -> None:
    connections = ConnectedUsers(str(path))
    with anvil(path, iter([DUMP.encode(), b"\n"]), at_once()):
        assert connections.has(BOB)
        assert not connections.has(BOB)


# What 2.4.1 sends.
GREETING_OF_2_4 = b"VERSION\tanvil-server\t2\t0\n"
DUMP_OF_2_4 = (
    GREETING_OF_2_4 + b"\n"
    b"32\talice123@a.example\timap-hibernate\t127.0.0.1\t94c84a2729330d6b2000000083ecc375\t\n"
    b"26\tbob12345@a.example\timap\t127.0.0.1\t0b0929231e330d6b1a00000083ecc375\t\n"
    b"27\tcarol123@a.example\tlmtp\t127.0.0.1\t3b299f3529330d6b1b00000083ecc375\t\n\n"
)


def test_dovecot_2_4_is_asked_again_in_its_own_words_and_from_then_on(path: Path) -> None:
    connections = ConnectedUsers(str(path))
    answers = [GREETING_OF_2_4, DUMP_OF_2_4, DUMP_OF_2_4, GREETING_OF_2_4 + b"\n\n", DUMP_OF_2_4[:-1]]
    with anvil(path, iter(answers), at_once()) as asked:
        assert connections.has("alice123@a.example")
        assert asked == [2]
        assert not connections.has("carol123@a.example")
        assert not connections.has("alice123@a.example")
        # This one was cut off before its end.
        assert not connections.has("alice123@a.example")
        assert asked == [5]


def test_users_of_2_4_have_an_imap_client_awake_or_hibernated() -> None:
    assert list(users(DUMP_OF_2_4)) == ["alice123@a.example", "bob12345@a.example"]


@pytest.mark.parametrize("answer", [b"", b"imap/1.2.3.4/alice123@a.example\t1\t1\n"])
def test_where_nobody_can_say_nobody_is_connected(
    path: Path, answer: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    connections = ConnectedUsers(str(path))
    with anvil(path, iter([answer, DUMP.encode()]), at_once()):
        assert not connections.has(ALICE)
        assert "event=connections-unknown error=ValueError" in caplog.text
        assert connections.has(ALICE)
    assert not connections.has(ALICE)
    assert "error=ConnectionRefusedError" in caplog.text
