"""More messages than the app takes at once are told to come later, and pages are served all the time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from mxdeliv_app.admission import AdmissionControl
from tests.blackbox.receiver import ALICE, JSON, Receiver, head, receiving
from tests.blackbox.served import Answer
from tests.chat.deadline import until

# Of a process's threads, those kept for pages. Messages with more than so many recipients, and how many of
# these at once. Recipients are named in batches, the first with MAIL.
KEPT, MANY, MOST_WITH_MANY, FIRST_BATCH = 8, 100, 8, 99
BUSY = "450 4.3.2 Too many messages at once, try again later"
# Postfix takes its time over the first recipient of these.
SLOW = "slow1234@a.example"


@contextmanager
def one_process(directory: Path, threads: int) -> Iterator[tuple[Receiver, threading.Event]]:
    """A receiver, and what ends Postfix's pause over `SLOW`."""
    go_on = threading.Event()

    def slow() -> str:
        go_on.wait(60)
        return "250 2.1.5 Ok"

    arguments = ["--workers", "1", "--threads", str(threads)]
    with receiving(directory, arguments=arguments) as receiver:
        receiver.inject.script = {f"RCPT TO:<{SLOW}>": slow}
        try:
            yield receiver, go_on
        finally:
            go_on.set()


@contextmanager
def under_way(receiver: Receiver, number: int, *others: str) -> Iterator[list[Future[Answer]]]:
    """So many messages of which Postfix has not answered."""
    with ThreadPoolExecutor(number) as pool:
        posts = [pool.submit(receiver.post, SLOW, *others, headers=[JSON]) for _ in range(number)]
        until("all are under way", lambda: len(slow_ones(receiver)) == number, 30)
        yield posts


def slow_ones(receiver: Receiver) -> list[str]:
    return [command for command in receiver.inject.said("RCPT") if SLOW in command]


def others(number: int) -> list[str]:
    return [f"u{one:07}@a.example" for one in range(number)]


def test_pages_are_served_beside_as_many_messages_as_may_be(tmp_path: Path) -> None:
    with one_process(tmp_path, KEPT + 3) as (receiver, go_on), under_way(receiver, 3) as posts:
        refused = receiver.post(ALICE)
        assert (refused.status, refused.first_line) == (503, BUSY)
        assert refused.headers["retry-after"]
        assert receiver.app.request("GET", "/").status == 200
        assert receiver.app.request("POST", "/new").status == 200
        go_on.set()
        assert [post.result().status for post in posts] == [200] * 3
        assert receiver.post(ALICE).status == 200


def test_messages_with_many_recipients_leave_room_for_others(tmp_path: Path) -> None:
    with (
        one_process(tmp_path, 60) as (receiver, go_on),
        under_way(receiver, MOST_WITH_MANY, *others(MANY)) as posts,
    ):
        refused = receiver.post(*others(MANY + 1))
        assert (refused.status, refused.first_line) == (503, BUSY)
        assert receiver.post(*others(MANY)).status == 200
        go_on.set()
        assert [post.result().status for post in posts] == [200] * MOST_WITH_MANY
        assert receiver.post(*others(MANY + 1)).status == 200


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
        until("it is over", lambda: "reason=body-cut" in receiver.app.log, 30)
        assert receiver.inject.said("RCPT") == [f"RCPT TO:<{SLOW}>"]


def test_a_client_that_only_sends_no_more_gets_its_answer(tmp_path: Path) -> None:
    with one_process(tmp_path, 60) as (receiver, _):
        fields = [f"X-Mail-To: {one}" for one in others(999)]
        said = receiver.say(head(*fields, "Content-Length: 2", "Connection: close") + b"\r\n")
        assert said.startswith(b"HTTP/1.1 200 ")
        assert len(receiver.inject.said("RCPT")) == 1000


@pytest.mark.parametrize("threads", [1, KEPT])
def test_too_few_threads_for_a_message_are_refused(threads: int) -> None:
    with pytest.raises(ValueError, match="threads"):
        AdmissionControl(threads)
