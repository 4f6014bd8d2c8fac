"""One POST with accepted and refused recipients (docs/wire.md, 2.5), and its log line."""

from __future__ import annotations

import re

import pytest

from tests.blackbox.served import WholeAnswer
from tests.blackbox.web.receiver import ALICE, BOB, JSON, MAX, MESSAGE, SENDER, Receiver


def test_who_asks_is_told_each_and_the_accepted_have_it(receiver: Receiver) -> None:
    receiver.inject.script = {f"RCPT TO:<{BOB}>": "550 5.1.1 User unknown"}
    answer = receiver.post(ALICE, BOB, headers=[JSON])
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json == {
        "recipients": [
            {"address": ALICE, "code": 250, "status": "2.0.0", "text": "Ok: queued as 4ABC"},
            {"address": BOB, "code": 550, "status": "5.1.1", "text": "User unknown"},
        ]
    }
    assert receiver.inject.messages() == [MESSAGE]
    assert receiver.mixed.conversations == []


@pytest.mark.parametrize("reply", ["550 5.1.1 User unknown", "552 5.2.2 Full", "451 4.3.0 Later"])
def test_for_who_can_not_be_told_postfix_takes_all_and_bounces(receiver: Receiver, reply: str) -> None:
    receiver.inject.script = {f"RCPT TO:<{BOB}>": reply}
    answer = receiver.post(ALICE, BOB, headers=[("Accept", "*/*")])
    assert (answer.status, answer.first_line) == (200, "250 2.0.0 Ok: queued as 4ABC")
    assert receiver.inject.messages() == []
    assert receiver.mixed.messages() == [MESSAGE]
    assert [c for c in receiver.mixed.conversations[0].commands if c.startswith("RCPT")] == [
        f"RCPT TO:<{ALICE}>",
        f"RCPT TO:<{BOB}>",
    ]


def is_sent_on_to_smtp(answer: WholeAnswer) -> bool:
    """Whether the answer sends the peer on to SMTP: a 4xx, and no reply that it could take for the answer."""
    return answer.status == 406 and re.match("[245][0-9][0-9] ", answer.first_line) is None


@pytest.mark.parametrize("accept", [[], [("Accept", "*/*")], [("Accept", "text/plain")]])
@pytest.mark.parametrize("reply", ["550 5.1.1 User unknown", "451 4.3.0 Later"])
def test_a_bounce_has_nobody_to_tell_so_it_is_sent_on_to_smtp(
    receiver: Receiver, reply: str, accept: list[tuple[str, str]]
) -> None:
    receiver.inject.script = {f"RCPT TO:<{BOB}>": reply}
    for sender in ("", None):
        assert is_sent_on_to_smtp(receiver.post(ALICE, BOB, sender=sender, headers=accept))
    assert receiver.inject.messages() == []
    assert receiver.mixed.conversations == []


def test_a_bounce_that_all_or_none_get_is_answered(receiver: Receiver) -> None:
    assert receiver.post(ALICE, BOB, sender="").status == 200
    receiver.inject.script = {"RCPT": "550 5.1.1 User unknown"}
    assert receiver.post(ALICE, BOB, sender="").status == 422


def test_who_asks_is_told_of_a_bounce_too(receiver: Receiver) -> None:
    receiver.inject.script = {f"RCPT TO:<{BOB}>": "550 5.1.1 User unknown"}
    answer = receiver.post(ALICE, BOB, sender="", headers=[JSON])
    assert [one["code"] for one in answer.json["recipients"]] == [250, 550]


def test_where_the_milter_says_that_no_bounce_could_tell_it_is_sent_on_to_smtp(receiver: Receiver) -> None:
    receiver.inject.script = {f"RCPT TO:<{BOB}>": "550 5.1.1 User unknown"}
    receiver.mixed.script = {".": "452 4.5.3 Some recipients are refused, and no bounce could tell"}
    assert is_sent_on_to_smtp(receiver.post(ALICE, BOB))
    # Any other temporary trouble means what it says.
    receiver.mixed.script = {".": "452 4.3.1 Insufficient system storage"}
    assert receiver.post(ALICE, BOB).status == 503


def test_a_recipient_that_is_refused_there_too_sends_the_message_on_to_smtp(receiver: Receiver) -> None:
    receiver.inject.script = receiver.mixed.script = {f"RCPT TO:<{BOB}>": "554 5.7.1 Relay access denied"}
    assert is_sent_on_to_smtp(receiver.post(ALICE, BOB))
    assert receiver.inject.messages() == receiver.mixed.messages() == []


def test_refused_there_altogether_is_the_answer(receiver: Receiver) -> None:
    receiver.inject.script = {f"RCPT TO:<{BOB}>": "550 5.1.1 User unknown"}
    receiver.mixed.script = {"MAIL": "450 4.7.1 Not now"}
    answer = receiver.post(ALICE, BOB)
    assert (answer.status, answer.first_line) == (503, "450 4.7.1 Not now")


def test_the_gates_verdict_counts_there_too(receiver: Receiver) -> None:
    receiver.inject.script = {f"RCPT TO:<{BOB}>": "550 5.1.1 User unknown"}
    receiver.mixed.script = {".": "523 5.7.1 Encryption Needed: Invalid Unencrypted Mail"}
    assert receiver.post(ALICE, BOB).status == 403


def test_refused_differently_who_asks_is_told_and_it_is_no_200(receiver: Receiver) -> None:
    receiver.inject.script = {
        f"RCPT TO:<{BOB}>": "550 5.1.1 Unknown",
        f"RCPT TO:<{ALICE}>": "552 5.2.2 Full",
    }
    answer = receiver.post(ALICE, BOB, headers=[JSON])
    assert answer.status == 207
    assert [one["code"] for one in answer.json["recipients"]] == [552, 550]
    assert receiver.inject.messages() == []


@pytest.mark.parametrize("sender", [SENDER, ""])
def test_what_did_not_get_to_postfix_is_logged_as_the_relay_counts_it(
    receiver: Receiver, sender: str
) -> None:
    receiver.inject.script = {"": None}
    receiver.post(ALICE, sender=sender)
    receiver.post(ALICE, sender=sender, body=b"x" * (MAX + 1))
    told = [line.partition(" ")[2] for line in receiver.app.log.splitlines() if "event=failed" in line]
    domain = "b.example" if sender else "<>"
    assert told[-2:] == [
        f"event=failed domain={domain} status=503 reason=queue-away",
        f"event=failed domain={domain} status=413 reason=too-large",
    ]


def test_the_log_names_domains_and_nobody(receiver: Receiver) -> None:
    receiver.inject.script = {f"RCPT TO:<{BOB}>": f"550 5.1.1 <{BOB}>: User unknown"}
    receiver.post(ALICE, BOB, headers=[JSON])
    receiver.post("nonsense@@@@")
    assert "event=received domain=b.example recipients=2 accepted=1 status=200" in receiver.app.log
    for secret in ("alice", "bob1", "dave", "hello", "nonsense@@"):
        assert secret not in receiver.app.log


TOO_MANY = "450 4.7.1 <x@a.example>: Recipient address rejected: Too many unknown recipients"


def test_a_bounce_does_not_tell_what_a_peer_that_tried_too_many_is_not_told(receiver: Receiver) -> None:
    receiver.inject.script = {f"RCPT TO:<{BOB}>": TOO_MANY}
    assert is_sent_on_to_smtp(receiver.post(ALICE, BOB))
    assert receiver.inject.messages() == []
    assert receiver.mixed.conversations == []


def test_who_asks_is_told_that_it_tried_too_many(receiver: Receiver) -> None:
    receiver.inject.script = {f"RCPT TO:<{BOB}>": TOO_MANY}
    answer = receiver.post(ALICE, BOB, headers=[JSON])
    assert [one["code"] for one in answer.json["recipients"]] == [250, 450]
    assert receiver.inject.messages() == [MESSAGE]


def test_a_peer_that_is_told_of_nobody_costs_one_batch(receiver: Receiver) -> None:
    many = [f"u{number}@a.example" for number in range(1000)]
    receiver.inject.script = {"RCPT": TOO_MANY}
    answer = receiver.post(*many, headers=[JSON])
    assert {one["code"] for one in answer.json["recipients"]} == {450}
    assert [one["address"] for one in answer.json["recipients"]] == many
    # MAIL and its recipients are sent in batches, of 16 commands at first; on no other connection once more.
    assert len(receiver.inject.said("RCPT")) == 15
    # nginx hands out the answers over some seconds, be they short or long.
    assert int(answer.headers["x-accel-limit-rate"]) > len(answer.body) / 4
    short = receiver.post(*many)
    assert (short.status, short.headers["x-accel-limit-rate"]) == (503, str((300 + len(short.body)) // 3))
    receiver.inject.script = {}
    assert "x-accel-limit-rate" not in receiver.post(*many).headers


def test_a_peer_that_is_told_of_one_has_all_named(receiver: Receiver) -> None:
    many = [f"u{number}@a.example" for number in range(1000)]
    receiver.inject.script = {f"RCPT TO:<{one}>": TOO_MANY for one in many if not one.endswith("7@a.example")}
    answer = receiver.post(*many, headers=[JSON])
    assert sum(one["code"] == 250 for one in answer.json["recipients"]) == 100
    assert len(receiver.inject.said("RCPT")) == 1000
