"""Each imitated sender understands the app's answer to its mail, accepted or refused."""

from __future__ import annotations

import pytest

from tests.blackbox.web.queue_port import Script
from tests.blackbox.web.receiver import ALICE, BOB, MESSAGE, SENDER, Receiver
from tests.blackbox.web.senders import DONE, PLAIN_HTTP, SENDERS, SMTP, PeerProgram
from tests.blackbox.web.test_http import statuses

DOTS = b"From: <dave1234@b.example>\r\n\r\n.one\r\n..two\r\n.\r\nend\r\n"
STUFFED = DOTS.replace(b"\r\n.", b"\r\n..")

each_sender = pytest.mark.parametrize("peer", SENDERS, ids=lambda peer: peer.name)


def told(receiver: Receiver, peer: PeerProgram, message: bytes = MESSAGE, sender: str = SENDER) -> list[int]:
    """The status of each request in which this peer sends a message to Alice and Bob."""
    answers = [receiver.say(request) for request in peer.requests(sender, [ALICE, BOB], message)]
    return [int(status) for answer in answers for status in statuses(answer)]


@each_sender
@pytest.mark.parametrize(
    ("message", "data"),
    [(MESSAGE, MESSAGE), (DOTS, STUFFED), (MESSAGE + b"x" * 70 + b"\r\n" * 5000, None)],
    ids=["short", "dots", "long"],
)
def test_its_message_arrives_as_it_was_meant(
    receiver: Receiver, peer: PeerProgram, message: bytes, data: bytes | None
) -> None:
    answers = told(receiver, peer, message)
    assert {peer.after(status) for status in answers} == {DONE}
    assert receiver.inject.messages() == [data or message] * len(answers)
    assert receiver.inject.said("RCPT") == [f"RCPT TO:<{ALICE}>", f"RCPT TO:<{BOB}>"]
    assert {command.split(" ")[1] for command in receiver.inject.said("MAIL")} == {f"FROM:<{SENDER}>"}


@each_sender
def test_its_bounces_have_the_null_sender(receiver: Receiver, peer: PeerProgram) -> None:
    assert {peer.after(status) for status in told(receiver, peer, sender="")} == {DONE}
    assert {command.split(" ")[1] for command in receiver.inject.said("MAIL")} == {"FROM:<>"}


# What each does next: on SMTP it hears the same refusal from Postfix, in words that it takes for final.
REFUSALS = [
    ({".": "523 5.7.1 Encryption Needed: Invalid Unencrypted Mail"}, 403, (SMTP, SMTP, SMTP)),
    ({".": "554 5.7.1 No valid DKIM signature found"}, 403, (SMTP, SMTP, SMTP)),
    ({"RCPT": "550 5.1.1 User unknown"}, 422, (SMTP, SMTP, SMTP)),
    ({"RCPT": "552 5.2.2 Mailbox is full"}, 507, (PLAIN_HTTP, PLAIN_HTTP, SMTP)),
    ({".": "552 5.3.4 Message too big"}, 413, (SMTP, SMTP, SMTP)),
    ({"MAIL": "553 5.7.1 Sender address rejected"}, 403, (SMTP, SMTP, SMTP)),
    ({".": "451 4.3.0 Queue file write error"}, 503, (PLAIN_HTTP, PLAIN_HTTP, SMTP)),
    ({"": None}, 503, (PLAIN_HTTP, PLAIN_HTTP, SMTP)),
]


@pytest.mark.parametrize(("script", "status", "next_roads"), REFUSALS, ids=lambda case: str(case)[:30])
def test_none_takes_a_refusal_for_a_delivery(
    receiver: Receiver, script: Script, status: int, next_roads: tuple[str, str, str]
) -> None:
    receiver.inject.script = dict(script)
    for peer, road in zip(SENDERS, next_roads, strict=True):
        answers = told(receiver, peer)
        assert set(answers) == {status}, peer.name
        assert {peer.after(one) for one in answers} == {road}, peer.name


@each_sender
def test_a_group_with_an_unknown_user_is_told_once_and_delivered_to_the_others(
    receiver: Receiver, peer: PeerProgram
) -> None:
    receiver.inject.script = {f"RCPT TO:<{BOB}>": "550 5.1.1 User unknown"}
    answers = told(receiver, peer)
    if peer.one_each:
        assert [peer.after(status) for status in answers] == [DONE, SMTP]
        assert (len(receiver.inject.messages()), receiver.mixed.messages()) == (1, [])
    else:
        # For all: were it not a success, the peer would send it by SMTP again, to Alice too.
        assert [peer.after(status) for status in answers] == [DONE]
        assert (receiver.inject.messages(), len(receiver.mixed.messages())) == ([], 1)


@each_sender
def test_a_group_that_no_bounce_could_tell_is_sent_by_smtp(receiver: Receiver, peer: PeerProgram) -> None:
    receiver.inject.script = {f"RCPT TO:<{BOB}>": "550 5.1.1 User unknown"}
    answers = told(receiver, peer, sender="")
    if peer.one_each:
        assert [peer.after(status) for status in answers] == [DONE, SMTP]
    else:
        # Not by way of http://, as after a 5xx.
        assert [peer.after(status) for status in answers] == [SMTP]
        assert receiver.inject.messages() == receiver.mixed.messages() == []
