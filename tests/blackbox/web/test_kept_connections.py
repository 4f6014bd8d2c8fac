"""Connections to Postfix are reused between messages; no message is lost, doubled or mixed with another."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.blackbox.web.receiver import ALICE, BOB, MESSAGE, PEER, Receiver, head, receiving

OTHER = "2001:db8::7"
ENVELOPE = ["MAIL", "RCPT", "DATA"]


@pytest.fixture(scope="module")
def _single(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    with receiving(tmp_path_factory.mktemp("single"), arguments=["--workers", "1"]) as receiver:
        yield receiver


@pytest.fixture
def receiver(_single: Receiver) -> Receiver:
    """One of a single worker: whatever is kept is kept there. Nothing is yet."""
    _single.inject.afresh()
    _single.mixed.afresh()
    return _single


def verbs(receiver: Receiver) -> list[list[str]]:
    """What was said on each connection to Postfix."""
    return [[command.split(" ")[0] for command in one.commands] for one in receiver.inject.conversations]


def test_the_same_peer_has_nothing_to_introduce_again(receiver: Receiver) -> None:
    for _ in range(3):
        assert receiver.post(ALICE).status == 200
    assert verbs(receiver) == [["EHLO", "XCLIENT", "EHLO", *ENVELOPE * 3]]
    assert receiver.inject.messages() == [MESSAGE] * 3


def test_another_peer_is_introduced_as_itself(receiver: Receiver) -> None:
    for peer in (PEER, OTHER, PEER):
        assert receiver.post(ALICE, peer=peer).status == 200
    assert verbs(receiver) == [["EHLO", *(["XCLIENT", "EHLO", *ENVELOPE] * 3)]]
    assert [command.split(" ")[1] for command in receiver.inject.said("XCLIENT")] == [
        f"ADDR={PEER}",
        f"ADDR=IPV6:{OTHER}",
        f"ADDR={PEER}",
    ]
    assert receiver.inject.said("EHLO")[2] == f"EHLO [IPv6:{OTHER}]"


def test_messages_at_once_never_share_a_connection(receiver: Receiver) -> None:
    bodies = [b"N: %d\r\n\r\n%s\r\n" % (number, b"x" * 5000) for number in range(200)]
    peers = [f"192.0.2.{number % 7}" for number in range(200)]
    with ThreadPoolExecutor(20) as pool:
        answers = list(
            pool.map(
                lambda one: receiver.post(ALICE, body=one[0], peer=one[1]), zip(bodies, peers, strict=True)
            )
        )
    assert {answer.status for answer in answers} == {200}
    assert sorted(receiver.inject.messages()) == sorted(bodies)
    assert len(receiver.inject.conversations) <= 32  # threads
    # Each message went under the name of who sent it.
    expected = sorted(zip(bodies, peers, strict=True))
    assert sorted(sent for one in receiver.inject.conversations for sent in one.sent_by()) == expected


@pytest.mark.parametrize("last_words", [b"", b"421 4.4.2 test Error: timeout exceeded\r\n"])
def test_a_postfix_that_hung_up_meanwhile_is_called_again(receiver: Receiver, last_words: bytes) -> None:
    assert receiver.post(ALICE).status == 200
    receiver.inject.conversations[0].hang_up(last_words)
    assert receiver.post(ALICE).status == 200
    assert receiver.inject.messages() == [MESSAGE] * 2
    assert verbs(receiver)[1] == ["EHLO", "XCLIENT", "EHLO", *ENVELOPE]


@pytest.mark.parametrize("when", ["XCLIENT", "MAIL", "RCPT"])
@pytest.mark.parametrize("reply", [None, "421 4.4.2 Bye", "451 4.7.1 Service unavailable - try again later"])
def test_who_fails_on_a_kept_connection_is_asked_anew_before_the_peer_is_told(
    receiver: Receiver, when: str, reply: str | None
) -> None:
    # A milter that was restarted meanwhile is a 451 there, and a smtpd that ended just now is nothing at all.
    assert receiver.post(ALICE).status == 200
    replies = iter([reply])
    receiver.inject.script = {when: lambda: next(replies, "220 Ok" if when == "XCLIENT" else "250 2.1.0 Ok")}
    assert receiver.post(ALICE, peer=OTHER).status == 200
    assert receiver.inject.messages() == [MESSAGE] * 2
    assert len(receiver.inject.conversations) == 2


def test_a_temporary_refusal_that_stays_is_told_after_one_more_try(receiver: Receiver) -> None:
    assert receiver.post(ALICE).status == 200
    receiver.inject.script = {"RCPT": "451 4.3.5 Server configuration problem"}
    assert receiver.post(ALICE).first_line == "451 4.3.5 Server configuration problem"
    assert len(receiver.inject.said("RCPT")) == 3
    assert receiver.inject.messages() == [MESSAGE]


@pytest.mark.parametrize("when", ["DATA", "."])
def test_a_postfix_that_dies_once_data_was_asked_for_is_not_asked_twice(
    receiver: Receiver, when: str
) -> None:
    # Whether the message was taken is not known: the peer has to try again, as by SMTP.
    assert receiver.post(ALICE).status == 200
    receiver.inject.script = {when: None}
    answer = receiver.post(ALICE)
    assert (answer.status, answer.first_line[:9]) == (503, "451 4.3.0")
    assert len(receiver.inject.conversations) == 1
    receiver.inject.script = {}
    assert receiver.post(ALICE).status == 200
    assert len(receiver.inject.conversations) == 2


@pytest.mark.parametrize(
    "script",
    [
        {"MAIL": "553 5.7.1 Rejected"},
        {"RCPT": "550 5.1.1 User unknown"},
        {".": "554 5.7.1 No valid DKIM signature found"},
        {".": "451 4.7.1 Later"},
    ],
)
def test_a_connection_on_which_no_message_was_taken_is_not_kept(
    receiver: Receiver, script: dict[str, str | None]
) -> None:
    # Postfix counts a session's errors, and a message that was taken clears them: nobody pays for another's.
    receiver.inject.script = dict(script)
    assert receiver.post(ALICE).status != 200
    receiver.inject.script = {}
    assert receiver.post(ALICE, peer=OTHER).status == 200
    assert len(receiver.inject.conversations) == 2


def test_a_message_that_is_cut_off_takes_its_connection_along(receiver: Receiver) -> None:
    assert receiver.post(ALICE).status == 200
    answer = receiver.say(head("Content-Length: 1000") + b"A: b\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert receiver.post(ALICE).status == 200
    assert receiver.inject.messages() == [MESSAGE] * 2
    assert len(receiver.inject.conversations) == 2


def test_recipients_of_mixed_fortune_leave_nothing_behind(receiver: Receiver) -> None:
    assert receiver.post(ALICE).status == 200
    receiver.inject.script = {f"RCPT TO:<{BOB}>": "550 5.1.1 User unknown"}
    assert receiver.post(ALICE, BOB).status == 200
    receiver.inject.script = {}
    assert receiver.post(ALICE).status == 200
    assert receiver.inject.messages() == [MESSAGE] * 2
    assert receiver.mixed.messages() == [MESSAGE]


def test_a_slow_message_holds_up_no_other(receiver: Receiver) -> None:
    assert receiver.post(ALICE).status == 200
    verdict = threading.Event()
    receiver.inject.script = {f"RCPT TO:<{BOB}>": lambda: "250 2.1.5 Ok" if verdict.wait(120) else None}
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(receiver.post, BOB)
        try:
            assert all(receiver.post(ALICE).status == 200 for _ in range(3))
            assert not slow.done()
        finally:
            verdict.set()
        assert slow.result().status == 200
