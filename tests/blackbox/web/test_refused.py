"""Refusals of `POST /mxdeliv`, with the peer's answer to each (docs/wire.md, 2.1 and 2.4)."""

from __future__ import annotations

import pytest

from tests.blackbox.web.receiver import ALICE, BOB, JSON, MAX, MESSAGE, SENDER, Receiver


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "PROPFIND", "BREW"])
@pytest.mark.parametrize("path", ["/mxdeliv", "/mxdeliv/"])
def test_anything_but_post_is_a_405(receiver: Receiver, method: str, path: str) -> None:
    answer = receiver.app.request(method, path, [("X-Real-IP", "203.0.113.7"), ("X-Mail-To", ALICE)])
    assert (answer.status, answer.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize("path", ["/mxdeliv/x", "/mxdelivx", "/x/mxdeliv"])
def test_other_paths_are_not_this_one(receiver: Receiver, path: str) -> None:
    assert receiver.post(ALICE, path=path).status == 404


@pytest.mark.parametrize(
    ("recipients", "sender", "status"),
    [
        ([], SENDER, "5.5.4"),
        ([""], SENDER, "5.5.4"),
        (["nonsense"], SENDER, "5.1.3"),
        ([ALICE, "x y@a"], SENDER, "5.1.3"),
        ([ALICE], "nonsense", "5.5.4"),
    ],
)
def test_missing_and_malformed_addresses_are_a_400(
    receiver: Receiver, recipients: list[str], sender: str, status: str
) -> None:
    answer = receiver.post(*recipients, sender=sender)
    assert (answer.status, answer.first_line[:9]) == (400, f"501 {status}")
    assert receiver.inject.conversations == []


@pytest.mark.parametrize(
    ("when", "reply", "status"),
    [
        (".", "523 5.7.1 Encryption Needed: Invalid Unencrypted Mail", 403),
        (".", "554 5.7.1 No valid DKIM signature found", 403),
        (".", "552 5.3.4 Message too big for system", 413),
        (".", "451 4.3.0 Queue file write error", 503),
        ("DATA", "452 4.3.1 Insufficient system storage", 503),
        ("MAIL", "553 5.7.1 <x>: Sender address rejected", 403),
        ("MAIL", "552 5.3.4 Message size exceeds file system imposed limit", 413),
        ("RCPT", "550 5.1.1 <x>: Recipient address rejected: User unknown", 422),
        ("RCPT", "552 5.2.2 <x>: Recipient address rejected: Mailbox is full", 507),
        ("RCPT", "554 5.7.1 <x>: Relay access denied", 403),
        ("RCPT", "451 4.3.5 <x>: Server configuration problem", 503),
        ("XCLIENT", "554 5.7.1 Client host rejected", 403),
        (".", "554 Without an enhanced code", 400),
    ],
)
def test_postfix_says_what_the_peer_is_told(receiver: Receiver, when: str, reply: str, status: int) -> None:
    receiver.inject.script = {when: reply}
    answer = receiver.post(ALICE, BOB)
    assert answer.status == status
    assert answer.first_line == (reply if "Without" not in reply else "554 5.0.0 Without an enhanced code")
    assert ("retry-after" in answer.headers) is (status == 503)


SURPLUS = [f"user{number:08}@a.example" for number in range(1003)]


def test_more_recipients_than_a_message_may_have_are_refused_before_postfix_is_asked(
    receiver: Receiver,
) -> None:
    answer = receiver.post(*SURPLUS)
    assert (answer.status, answer.first_line[:9]) == (503, "452 4.5.3")
    assert "retry-after" in answer.headers
    assert receiver.inject.conversations == []


def test_who_asks_is_told_so_of_those_that_are_too_many_and_the_others_have_it(receiver: Receiver) -> None:
    answer = receiver.post(",".join(SURPLUS), headers=[JSON])
    assert answer.status == 200
    told = [(one["address"], one["code"]) for one in answer.json["recipients"]]
    assert told == [(one, 250 if number < 1000 else 452) for number, one in enumerate(SURPLUS)]
    assert len(receiver.inject.said("RCPT")) == 1000
    assert receiver.inject.messages() == [MESSAGE]


def test_a_refusal_is_heard_by_who_still_sends(receiver: Receiver) -> None:
    # nginx writes the whole body before it reads: closing early would be its 502.
    receiver.inject.script = {"RCPT": "550 5.1.1 User unknown"}
    for body in (b"x" * MAX, (b"x" * 10_000 for _ in range(100))):
        assert receiver.post(ALICE, body=body).status == 422
    assert receiver.inject.messages() == []


def test_many_lines_become_one(receiver: Receiver) -> None:
    receiver.inject.script = {".": "554-5.7.1 No valid\r\n554 5.7.1 DKIM signature found"}
    assert receiver.post(ALICE).first_line == "554 5.7.1 No valid DKIM signature found"


@pytest.mark.parametrize("when", ["", "EHLO", "XCLIENT", "MAIL", "RCPT", "DATA", "."])
def test_a_postfix_that_goes_away_means_later(receiver: Receiver, when: str) -> None:
    receiver.inject.script = {when: None}
    answer = receiver.post(ALICE)
    assert (answer.status, answer.first_line[:9]) == (503, "451 4.3.0")
    assert "retry-after" in answer.headers


@pytest.mark.parametrize("reply", ["", "nonsense", "999 5.0.0 x", "250-ever\r\n" * 500, "x" * 10_000])
def test_a_postfix_that_talks_nonsense_means_later(receiver: Receiver, reply: str) -> None:
    receiver.inject.script = {"MAIL": reply}
    assert receiver.post(ALICE).status == 503


def test_without_xclient_nothing_is_injected(receiver: Receiver) -> None:
    # As ourselves we would be trusted like this machine.
    receiver.inject.script = {"EHLO": "250-test\r\n250 PIPELINING"}
    assert receiver.post(ALICE).status == 503
    assert receiver.inject.conversations[0].commands == ["EHLO [203.0.113.7]"]


@pytest.mark.parametrize("peer", ["", "unix:", "nonsense", "1.2.3.4, 5.6.7.8"])
def test_without_the_peers_address_nothing_is_injected(receiver: Receiver, peer: str) -> None:
    answer = receiver.post(ALICE, peer=peer)
    assert (answer.status, answer.first_line[:9]) == (503, "451 4.3.0")
    assert receiver.inject.conversations == []
