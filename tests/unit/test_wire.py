"""The `/mxdeliv` format: header fields, SMTP replies as HTTP answers, and answers understood."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mxdeliv_app import wire
from mxdeliv_app.wire import Meaning, RecipientReply

ALICE, BOB = "alice@a.example", "bob@a.example"


def reply(line: str, address: str = ALICE) -> RecipientReply:
    code, status, text = line.split(" ", 2)
    return RecipientReply(address, int(code), status, text)


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


class TestUnderstanding:
    @pytest.mark.parametrize("body", [b"OK", b"OK\n", b"250 OK\n", b"250 2.0.0 queued", b" \n250", b"250-x"])
    def test_success_of_old_peers(self, body: bytes) -> None:
        understood = wire.understand(200, "", body, [ALICE, BOB])
        assert understood.meaning is Meaning.DELIVERED
        assert [(one.address, one.code) for one in understood.replies] == [(ALICE, 250), (BOB, 250)]

    @pytest.mark.parametrize(
        "body",
        [b"", b"<html>OK</html>", b"ok", b"OKAY", b"2500", b"It works! OK", b'"OK"', b"{}", b"\xff\xfe"],
    )
    def test_a_200_of_any_web_server_is_no_delivery(self, body: bytes) -> None:
        assert wire.understand(200, "text/html", body, [ALICE]).meaning is Meaning.NOT_CHATMAIL

    @pytest.mark.parametrize(
        ("status", "line", "enhanced"),
        [
            (400, "523 Encryption Needed: Invalid Unencrypted Mail", "5.7.1"),
            (403, "523 5.7.1 Encryption Needed: Invalid Unencrypted Mail", "5.7.1"),
            (400, "554 5.7.1 No valid DKIM signature found", "5.7.1"),
            (400, "500 Invalid FROM <x@y> for <z@y>", "5.7.1"),
            (422, "550 5.1.1 User unknown", "5.1.1"),
            (500, "550-5.1.1 first of many", "5.1.1"),
        ],
    )
    def test_final_refusals(self, status: int, line: str, enhanced: str) -> None:
        understood = wire.understand(status, "text/plain", line.encode() + b"\r\nmore", [ALICE, BOB])
        assert understood.meaning is Meaning.FINAL
        assert {(one.code, one.status) for one in understood.replies} == {(int(line[:3]), enhanced)}

    @pytest.mark.parametrize(
        ("status", "line"),
        [
            (503, "451 4.3.0 later"),
            (400, "451 Temporary failure"),
            (400, "499 4.9.9 x"),
            (400, "452 4.3.1 full"),
        ],
    )
    def test_temporary_refusals(self, status: int, line: str) -> None:
        assert wire.understand(status, "", line.encode(), [ALICE]).meaning is Meaning.TEMPORARY

    @pytest.mark.parametrize(
        ("status", "body"),
        [
            (404, b"404 page not found\n"),
            (421, b"421 Misdirected Request"),
            (451, b"451 Unavailable For Legal Reasons"),
            (500, b"500 Internal Server Error"),
            (502, b"502 Bad Gateway"),
            (403, b"Encryption Needed"),
            (400, b"550 4.1.1 contradicts itself"),
            (413, b"<html><title>413 Request Entity Too Large"),
            (301, b""),
            (400, b""),
            (400, b"5505.1.1"),
            (400, b"\0\xff" * 1000),
        ],
    )
    def test_answers_of_web_servers_lead_to_smtp(self, status: int, body: bytes) -> None:
        assert wire.understand(status, "text/html", body, [ALICE]) == wire.Understood(Meaning.NOT_CHATMAIL)

    def test_json_gives_each_recipient_its_own_answer(self) -> None:
        body = wire.encode_json([OK, reply("550 5.1.1 No such user", BOB)])
        understood = wire.understand(200, "application/json; charset=utf-8", body, [BOB, ALICE])
        assert understood.meaning is Meaning.PER_RECIPIENT
        assert [one.line for one in understood.replies] == ["550 5.1.1 No such user", "250 2.0.0 OK queued"]

    def test_a_recipient_that_json_does_not_name_is_tried_again(self) -> None:
        understood = wire.understand(200, "application/json", wire.encode_json([OK]), [ALICE, BOB])
        assert [one.code for one in understood.replies] == [250, 451]

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"[]",
            b"null",
            b'{"recipients": {}}',
            b'{"recipients": []}',
            b'{"recipients": [{"address": "someone@else.example", "code": 250, "status": "2.0.0"}]}',
            b'{"recipients": [{"address": "alice@a.example", "code": "250", "status": "2.0.0"}]}',
            b'{"recipients": [{"address": "alice@a.example", "code": 250, "status": "5.0.0"}]}',
            b'{"recipients": [{"address": "alice@a.example", "code": 354, "status": "2.0.0"}]}',
            b'{"recipients": [{"address": "alice@a.example", "code": 9999999999999999, "status": "2.0.0"}]}',
            b'{"recipients": [{"address": "alice@a.example", "code": 250, "status": "2.0.0"',
            b'{"x":' * 100_000,
            b"[" * 1_000_000,
            b"\xff\xfe{}",
            b'{"recipients": [{"address": "\xff", "code": 250, "status": "2.0.0"}]}',
            b'{"recipients": [{"address": "\\ud800", "code": 250, "status": "2.0.0"}]}',
        ],
    )
    def test_json_that_is_not_ours_is_no_delivery(self, body: bytes) -> None:
        assert wire.understand(200, "application/json", body, [ALICE]).meaning is Meaning.NOT_CHATMAIL

    def test_text_from_a_peer_becomes_one_short_printable_line(self) -> None:
        body = b"550 5.1.1 a\0b\x1b[31m" + b"c" * 100_000 + b"\r\nsecond"
        (only,) = wire.understand(400, "", body, [ALICE]).replies
        assert only.text.isprintable()
        assert len(only.line) <= 512

    @given(
        status=st.integers(100, 999),
        content_type=st.sampled_from(["", "text/plain", "application/json"]),
        body=st.binary(max_size=200),
    )
    def test_nothing_that_a_peer_says_raises(self, status: int, content_type: str, body: bytes) -> None:
        understood = wire.understand(status, content_type, body, [ALICE, BOB])
        assert len(understood.replies) == (0 if understood.meaning is Meaning.NOT_CHATMAIL else 2)

    @given(st.lists(st.sampled_from([OK, UNKNOWN, FULL, LATER]), min_size=1, max_size=4))
    def test_what_we_answer_in_json_we_understand(self, kinds: list[RecipientReply]) -> None:
        replies = [RecipientReply(f"u{i}@a.example", k.code, k.status, k.text) for i, k in enumerate(kinds)]
        answer = wire.http_answer(replies, wants_json=True)
        addresses = [one.address for one in replies]
        understood = wire.understand(answer.status, answer.content_type, answer.body, addresses)
        assert [one.line for one in understood.replies] == [one.line for one in replies]
