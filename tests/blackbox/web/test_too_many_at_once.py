"""Above its limit of concurrent messages the app answers 503, and still serves pages."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.blackbox.served import WholeAnswer
from tests.blackbox.web.receiver import ALICE, JSON, PEER, Receiver, head, receiving
from tests.chat.deadline import until

# Of a process's threads, those kept for pages. Recipients are named in batches, the first with MAIL. Messages
# at once of one network with 100 recipients or more, whose 99 beyond the first count: 4 have 396 of 600, less
# than twice what is left. With 16: 26 have 390.
KEPT, FIRST_BATCH, MOST_WITH_100, MOST_WITH_16 = 8, 15, 4, 26
BUSY = "450 4.3.2 Too many messages at once, try again later"
# Postfix takes its time over the first recipient of these.
SLOW = "slow1234@a.example"


@contextmanager
def one_process(directory: Path, threads: int) -> Iterator[tuple[Receiver, threading.Event]]:
    """A receiver, and what ends Postfix's pause over `SLOW`."""
    go_on = threading.Event()

    def slow() -> str:
        go_on.wait(600)
        return "250 2.1.5 Ok"

    arguments = ["--workers", "1", "--threads", str(threads)]
    with receiving(directory, arguments=arguments) as receiver:
        receiver.inject.script = {f"RCPT TO:<{SLOW}>": slow}
        try:
            yield receiver, go_on
        finally:
            go_on.set()


@contextmanager
def under_way(
    receiver: Receiver, number: int, *others: str, peer: str = PEER
) -> Iterator[list[Future[WholeAnswer]]]:
    """So many more messages of a peer of which Postfix has not answered."""
    before = len(slow_ones(receiver))
    with ThreadPoolExecutor(number) as pool:
        posts = [pool.submit(receiver.post, SLOW, *others, headers=[JSON], peer=peer) for _ in range(number)]
        until("all are under way", lambda: len(slow_ones(receiver)) == before + number, 30)
        yield posts


def slow_ones(receiver: Receiver) -> list[str]:
    return [command for command in receiver.inject.said("RCPT") if SLOW in command]


def others(number: int) -> list[str]:
    return [f"u{one:07}@a.example" for one in range(number)]


def is_busy(answer: WholeAnswer) -> bool:
    said = answer.status, answer.first_line, answer.headers["retry-after"]
    # For nginx: header and body take some seconds at so many octets in each.
    return said == (503, BUSY, "60") and 100 <= int(answer.headers["x-accel-limit-rate"]) < 150


def test_pages_are_served_beside_as_many_messages_as_may_be(tmp_path: Path) -> None:
    with (
        one_process(tmp_path, KEPT + 2) as (receiver, go_on),
        under_way(receiver, 1, peer="192.0.2.1") as first,
        under_way(receiver, 1, peer="192.0.2.2") as second,
    ):
        assert is_busy(receiver.post(ALICE))
        assert receiver.app.request("GET", "/").status == 200
        assert receiver.app.request("POST", "/new").status == 200
        go_on.set()
        assert [post.result().status for post in first + second] == [200] * 2
        assert receiver.post(ALICE).status == 200


def test_one_network_takes_two_thirds_of_the_places_and_leaves_the_others(tmp_path: Path) -> None:
    with (
        one_process(tmp_path, KEPT + 12) as (receiver, go_on),
        under_way(receiver, 8, peer="2001:db8:0:1::1") as posts,
    ):
        assert is_busy(receiver.post(ALICE, peer="2001:db8:0:1::2"))
        assert receiver.post(ALICE, peer="2001:db8:0:2::1").status == 200
        go_on.set()
        assert [post.result().status for post in posts] == [200] * 8
        assert receiver.post(ALICE, peer="2001:db8:0:1::2").status == 200


@pytest.mark.parametrize(
    ("recipients", "most"), [(100, MOST_WITH_100), (1000, MOST_WITH_100), (16, MOST_WITH_16)]
)
def test_one_network_s_many_recipients_leave_room_for_others(
    tmp_path: Path, recipients: int, most: int
) -> None:
    with (
        one_process(tmp_path, 60) as (receiver, go_on),
        under_way(receiver, most, *others(recipients - 1), peer="192.0.2.1") as posts,
    ):
        assert is_busy(receiver.post(*others(recipients), peer="192.0.2.1"))
        assert receiver.post(ALICE, peer="192.0.2.1").status == 200
        assert receiver.post(*others(100), peer="192.0.2.2").status == 200
        go_on.set()
        assert [post.result().status for post in posts] == [200] * most
        assert receiver.post(*others(recipients), peer="192.0.2.1").status == 200


def test_a_client_that_hangs_up_has_no_more_recipients_named(tmp_path: Path) -> None:
    with one_process(tmp_path, 60) as (receiver, go_on):
        with receiver.app.connect() as client:
            client.sendall(head("Content-Length: 2", to=",".join([SLOW, *others(999)])) + b"\r\n")
            until("Postfix is asked", lambda: slow_ones(receiver), 30)
        go_on.set()
        until("it is over", lambda: "reason=body-cut" in receiver.app.log, 30)
        assert len(receiver.inject.said("RCPT")) == FIRST_BATCH
        assert receiver.inject.messages() == []


def test_a_client_that_left_before_its_turn_is_not_served(tmp_path: Path) -> None:
    """It waited for a thread meanwhile."""
    with one_process(tmp_path, KEPT + 1) as (receiver, go_on), under_way(receiver, 1) as posts:
        # Pages and messages wait alike: the threads of all are taken by what does not end.
        slow = [receiver.app.connect() for _ in range(KEPT)]
        for client in slow:
            client.sendall(b"POST /new HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1\r\n")
        with receiver.app.connect() as client:
            client.sendall(head("Content-Length: 2") + b"\r\n")
        go_on.set()
        # Until then the one message that may be under way is.
        assert posts[0].result().status == 200
        for client in slow:
            client.close()
        # Its turn comes before that of whoever comes now. Not even its header is read.
        assert receiver.post(ALICE).status == 200
        assert receiver.inject.said("RCPT") == [f"RCPT TO:<{one}>" for one in (SLOW, ALICE)]
        assert "event=failed" not in receiver.app.log


def test_a_client_that_only_sends_no_more_gets_its_answer(tmp_path: Path) -> None:
    with one_process(tmp_path, 60) as (receiver, _):
        fields = [f"X-Mail-To: {one}" for one in others(999)]
        said = receiver.say(head(*fields, "Content-Length: 2", "Connection: close") + b"\r\n")
        assert said.startswith(b"HTTP/1.1 200 ")
        assert len(receiver.inject.said("RCPT")) == 1000
