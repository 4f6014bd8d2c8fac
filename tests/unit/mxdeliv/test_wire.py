"""The `/mxdeliv` format: header fields, and SMTP replies as HTTP answers."""

from __future__ import annotations

import json

import pytest

from chatmail_milter.verdict import Reply
from mxdeliv_app.mxdeliv import wire
from mxdeliv_app.mxdeliv.wire import RecipientReply

ALICE, BOB = "alice@a.example", "bob@a.example"


def reply(line: str, address: str = ALICE) -> RecipientReply:
    code, status, text = line.split(" ", 2)
    return RecipientReply(address, Reply(int(code), status, text))


OK = reply("250 2.0.0 OK queued")
UNKNOWN = reply("550 5.1.1 No such user")
FULL = reply("552 5.2.2 Mailbox full")
LATER = reply("451 4.3.0 Later")


class TestHeaderFields:
    @pytest.mark.parametrize("value", [None, "", " ", "<>", " <> "])
    def test_absent_and_empty_sender_is_the_null_sender(self, value: str | None) -> None:
        assert wire.parse_sender(value) == ""

    def test_recipients_come_in_any_form_and_are_taken_once(self) -> None:
        value = " <Alice@A.example>,bob@a.example,, alice@a.EXAMPLE,u@1.2.3.4,u@[1.2.3.4] "
        assert wire.parse_recipients(value) == (ALICE, BOB, "u@[1.2.3.4]")

    @pytest.mark.parametrize(
        "value",
        [
            None,
            "",
            " , ,",
            "alice",
            "a@b@c d",
            "a\n@b",
            "<a@b",
            "a@b\0",
            "@b",
            '"a"@b',
            "a@\u00e4.example",
            "\u00e4@b",
        ],
    )
    def test_missing_or_malformed_recipients_are_an_error(self, value: str | None) -> None:
        with pytest.raises(wire.MalformedRequestError, match=r"^X-Mail-To: "):
            wire.parse_recipients(value)

    @pytest.mark.parametrize("value", ["alice@a.example.", "<alice@a.example.>", "alice@a.example"])
    def test_dot_at_the_end_of_a_domain_is_no_difference(self, value: str) -> None:
        assert wire.parse_recipients(value) == (ALICE,)

    @pytest.mark.parametrize(
        "value", ["alice", "alice@a.example..", "a@\u00e4.example", "\u00e4@b", "@b", "a@."]
    )
    def test_malformed_recipient_is_told_from_a_malformed_request(self, value: str) -> None:
        with pytest.raises(wire.MalformedRecipientError):
            wire.parse_recipients(value)

    def test_one_malformed_recipient_spoils_the_request(self) -> None:
        with pytest.raises(wire.MalformedRequestError):
            wire.parse_recipients(f"{ALICE}, nonsense")

    def test_two_senders_are_an_error(self) -> None:
        with pytest.raises(wire.MalformedRequestError, match=r"^X-Mail-From: "):
            wire.parse_sender(f"{ALICE},{BOB}")

    def test_an_error_repeats_nothing_of_what_was_sent(self) -> None:
        with pytest.raises(wire.MalformedRequestError) as caught:
            wire.parse_recipients("s3cret nonsense@here")
        assert "s3cret" not in str(caught.value)

    def test_what_is_sent_is_understood(self) -> None:
        names, values = zip(*wire.mail_to_headers([ALICE, BOB]), strict=True)
        assert names == ("X-Mail-To", "X-Mail-To")
        assert wire.parse_recipients(",".join(values)) == (ALICE, BOB)
        assert wire.mail_from_header("") == ("X-Mail-From", "")

    @pytest.mark.parametrize(
        ("accept", "asked"),
        [
            (None, False),
            ("*/*", False),
            ("application/*", False),
            ("text/plain", False),
            ("application/json", True),
            ("text/html, Application/JSON;q=0.3", True),
            ("application/json;q=0, text/plain", False),
            ("application/json; q=0.0", False),
            (wire.ACCEPT, True),
        ],
    )
    def test_json_is_asked_for_by_name_only(self, accept: str | None, asked: bool) -> None:
        assert wire.wants_json(accept) is asked


class TestAnswering:
    @pytest.mark.parametrize(
        ("line", "status"),
        [
            ("250 2.0.0 OK queued as x", 200),
            ("523 5.7.1 Encryption Needed: Invalid Unencrypted Mail", 403),
            ("554 5.7.1 No DKIM signature found", 403),
            ("554 5.7.1 No valid DKIM signature found", 403),
            ("553 5.7.1 Sender is ours", 403),
            ("554 5.7.1 Relay access denied", 403),
            ("550 5.1.1 User unknown", 422),
            ("552 5.2.2 Mailbox full", 507),
            ("552 5.3.4 Too large", 413),
            ("501 5.1.3 Bad address", 400),
            ("523 5.0.0 Encryption Needed", 403),
            ("550 5.1.10 Null MX", 400),
            ("451 4.7.5 DKIM key lookup failed", 503),
            ("452 4.3.1 Disk full", 503),
            ("421 4.3.2 Stopping", 503),
        ],
    )
    def test_one_outcome_for_all(self, line: str, status: int) -> None:
        answer = wire.http_answer([reply(line), reply(line, BOB)], wants_json=False)
        assert answer.status == status
        assert answer.body == line.encode() + b"\r\n"
        assert (("Retry-After", "60") in answer.headers) is (status == 503)

    def test_refusals_that_differ_in_kind_are_a_400_and_any_temporary_one_a_503(self) -> None:
        assert wire.http_answer([UNKNOWN, FULL], wants_json=False).status == 400
        answer = wire.http_answer([UNKNOWN, LATER], wants_json=False)
        assert (answer.status, answer.body) == (503, b"451 4.3.0 Later\r\n")

    def test_some_accepted_is_a_200_for_those_that_can_not_be_told(self) -> None:
        answer = wire.http_answer([UNKNOWN, OK], wants_json=False)
        assert (answer.status, answer.body) == (200, b"250 2.0.0 OK queued\r\n")

    def test_who_asks_is_told_of_each_recipient(self) -> None:
        answer = wire.http_answer([OK, reply("550 5.1.1 No such user", BOB)], wants_json=True)
        assert (answer.status, answer.content_type) == (200, "application/json")
        assert json.loads(answer.body) == {
            "recipients": [
                {"address": ALICE, "code": 250, "status": "2.0.0", "text": "OK queued"},
                {"address": BOB, "code": 550, "status": "5.1.1", "text": "No such user"},
            ]
        }

    def test_who_asks_is_told_one_refusal_for_all_by_status_and_line(self) -> None:
        answer = wire.http_answer([UNKNOWN, reply("550 5.1.1 No such user", BOB)], wants_json=True)
        assert (answer.status, answer.body) == (422, b"550 5.1.1 No such user\r\n")

    def test_a_200_is_never_said_when_nothing_was_taken(self) -> None:
        answer = wire.http_answer([UNKNOWN, reply("552 5.2.2 Full", BOB)], wants_json=True)
        assert (answer.status, answer.content_type) == (207, "application/json")
