"""The meaning of peers' answers: of all deployed receivers, of ours, and of plain web servers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatmail_milter import codes
from chatmail_milter.verdict import Reply, Verdict
from mxdeliv_app.mxdeliv import peer_answer, wire
from mxdeliv_app.mxdeliv.peer_answer import Meaning, Proof, Understood
from mxdeliv_app.mxdeliv.wire import RecipientReply

ALICE, BOB = "alice@a.example", "bob@a.example"


def reply(line: str, address: str = ALICE) -> RecipientReply:
    code, status, text = line.split(" ", 2)
    return RecipientReply(address, Reply(int(code), status, text))


OK = reply("250 2.0.0 OK queued")


def meaning(status: int, body: bytes, content_type: str = "text/plain") -> Meaning:
    return peer_answer.understand(status, content_type, body, [ALICE]).meaning


class TestDelivered:
    @pytest.mark.parametrize(
        "body",
        [
            b"OK",
            b"OK\n",
            b"250 OK",
            b"250 OK\r\n",
            b"250 2.0.0",
            b"250 2.0.0 OK",
            b"250 2.1.5 queued as 4XYZ\r\n",
            b"250 2.0.0 OK: ready\n",
        ],
    )
    def test_is_one_of_three_bodies_to_the_letter(self, body: bytes) -> None:
        understood = peer_answer.understand(200, "", body, [ALICE, BOB])
        assert understood.meaning is Meaning.DELIVERED
        assert [(one.address, one.reply.code) for one in understood.replies] == [(ALICE, 250), (BOB, 250)]

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"ok",
            b"Ok",
            b"OK.",
            b"OK ",
            b" OK",
            b"OK\n\n",
            b"OK\nOK",
            b"OKAY",
            b"OK. Service is healthy",
            b"OK-created",
            b'"OK"',
            b"250",
            b"250 ok",
            b"250 OK.",
            b"250 OK (HTTPS)",
            b"250 items found",
            b"250-2.0.0 first",
            b"250 2.0.0-first",
            b"250 2.0.0OK",
            b"250 2.0",
            b"250 5.1.1 OK",
            b"250 4.0.0 OK",
            b"251 2.1.5 OK",
            b"2500 2.0.0 OK",
            b" 250 2.0.0 OK",
            b"250 2.0.0 OK\n250 2.0.0 OK",
            b"250 2.0.0 OK\r\n<html>",
            b"250 2.0.0 OK\0",
            b"<html>OK</html>",
            b"It works! OK",
            b"{}",
            b"\xff\xfe",
        ],
    )
    def test_is_no_other(self, body: bytes) -> None:
        for content_type in ("text/plain", "text/html", "application/json", ""):
            assert meaning(200, body, content_type) is Meaning.NOT_CHATMAIL

    @pytest.mark.parametrize("status", [201, 202, 203, 204, 205, 206, 207, 208, 226, 299])
    @pytest.mark.parametrize("body", [b"OK", b"250 2.0.0 OK", b"202 OK (queued)", b"OK-created", b""])
    def test_is_no_other_status(self, status: int, body: bytes) -> None:
        assert meaning(status, body) is Meaning.NOT_CHATMAIL

    def test_of_a_body_that_was_cut_off_is_a_line_with_its_end(self) -> None:
        """`OK` may have gone on `. Service is healthy`."""
        for body, delivered in ((b"OK", False), (b"250 2.0.0 O", False), (b"OK\n", True)):
            understood = peer_answer.understand(200, "", body, [ALICE], complete=False)
            assert (understood.meaning is Meaning.DELIVERED) is delivered


class TestRefused:
    @pytest.mark.parametrize("status", [400, 403, 413, 422])
    @pytest.mark.parametrize(
        ("line", "enhanced"),
        [
            ("523 Encryption Needed: Invalid Unencrypted Mail", "5.7.1"),
            ("523 5.7.1 Encryption Needed: Invalid Unencrypted Mail", "5.7.1"),
            ("554 5.7.1 No valid DKIM signature found", "5.7.1"),
            ("500 Invalid FROM <x@y> for <z@y>", "5.7.1"),
            ("552 Message exceeds maximum size", "5.3.4"),
            ("550 5.1.1 User unknown", "5.1.1"),
            ("550-5.1.1 first of many", "5.1.1"),
            ("552 5.2.2 Mailbox full", "5.2.2"),
        ],
    )
    def test_for_good_by_a_permanent_reply_with_a_status_that_refuses(
        self, status: int, line: str, enhanced: str
    ) -> None:
        body = line.encode() + b"\r\nmore"
        understood = peer_answer.understand(status, "text/plain", body, [ALICE])
        assert understood.meaning is Meaning.FINAL
        said = {(one.reply.code, one.reply.enhanced) for one in understood.replies}
        assert said == {(int(line[:3]), enhanced)}

    @pytest.mark.parametrize(
        ("line", "of_one"),
        [
            *((f"550 {status} No", True) for status in ("5.1.1", "5.1.0", "5.1.10", "5.2.1", "5.2.2")),
            *((f"450 {status} No", True) for status in ("4.1.1", "4.2.0", "4.2.2")),
            *((f"550 {status} No", False) for status in ("5.1.7", "5.1.8", "5.3.4", "5.6.0", "5.7.1")),
            *((f"450 {status} No", False) for status in ("4.1.7", "4.1.8", "4.3.0", "4.7.1")),
            ("554 5.7.1 <Bob@A.example>: Relay access denied", True),
            ("554 5.7.1 <bob@b.example>: Sender is blocked", False),
            ("450 <bob@a.example>: Try later", True),
            ("451 Try later", False),
        ],
    )
    def test_because_of_one_recipient_is_of_that_one(self, line: str, of_one: bool) -> None:
        told = peer_answer.understand(400, "text/plain", line.encode(), [ALICE, BOB])
        alone = Meaning.FINAL if line.startswith("5") else Meaning.TEMPORARY
        assert told.meaning is (Meaning.OF_ONE if of_one else alone)
        assert len(told.replies) == (0 if of_one else 2)
        assert peer_answer.understand(400, "text/plain", line.encode(), [BOB]).meaning is alone

    def test_for_good_by_a_507_only_of_a_full_mailbox(self) -> None:
        assert meaning(507, b"552 5.2.2 Mailbox full") is Meaning.FINAL
        assert meaning(507, b"550 5.1.1 User unknown") is Meaning.NOT_CHATMAIL

    @pytest.mark.parametrize("status", [301, 401, 404, 405, 408, 410, 421, 429, 500, 501, 502, 503, 504])
    @pytest.mark.parametrize(
        "line",
        [
            b"500 Invalid FROM",
            b"502 5.2.0 Bad gateway",
            b"523 5.7.1 Encryption Needed: Invalid Unencrypted Mail",
            b"550 5.1.1 User unknown",
        ],
    )
    def test_never_for_good_where_the_classes_disagree(self, status: int, line: bytes) -> None:
        assert meaning(status, line) is Meaning.NOT_CHATMAIL

    @pytest.mark.parametrize("status", [400, 403, 413, 422, 429, 503, 507])
    @pytest.mark.parametrize(
        "line", [b"451 4.3.0 later", b"452 4.2.2 full", b"499 4.9.9 x", b"450 Greylisted"]
    )
    def test_for_now(self, status: int, line: bytes) -> None:
        assert meaning(status, line) is Meaning.TEMPORARY

    @pytest.mark.parametrize("status", [301, 404, 405, 500, 502, 504])
    def test_not_for_now_where_the_classes_disagree(self, status: int) -> None:
        assert meaning(status, b"451 4.3.2 Service is restarting") is Meaning.NOT_CHATMAIL

    @pytest.mark.parametrize("status", [400, 403, 413, 422, 507])
    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"quota",
            b"<html>",
            b"Encryption Needed",
            b"550 4.1.1 contradicts itself",
            b"5505.1.1",
            b"\0\xff",
        ],
    )
    def test_without_a_reply_it_is_this_message_and_not_the_peer(self, status: int, body: bytes) -> None:
        assert meaning(status, body) is Meaning.UNEXPLAINED

    @pytest.mark.parametrize(
        ("status", "body", "expected"),
        [
            (404, b"404 page not found\n", Meaning.NOT_CHATMAIL),
            (301, b"", Meaning.NOT_CHATMAIL),
            (405, b"", Meaning.NOT_CHATMAIL),
            (421, b"421 Misdirected Request", Meaning.NOT_CHATMAIL),
            (451, b"451 Unavailable For Legal Reasons", Meaning.NOT_CHATMAIL),
            (429, b"429 Too Many Requests", Meaning.TROUBLE),
            (500, b"500 Internal Server Error", Meaning.TROUBLE),
            (502, b"502 Bad Gateway", Meaning.TROUBLE),
            (503, b"503 Service Unavailable", Meaning.TROUBLE),
        ],
    )
    def test_web_servers_repeat_their_status(self, status: int, body: bytes, expected: Meaning) -> None:
        assert peer_answer.understand(status, "text/html", body, [ALICE]) == Understood(expected)


# Every answer of filtermail 0.7 and of madmail 1 and 2.23, as their sources have it: status, body, meaning.
IN_THE_WILD = [
    ("filtermail", 200, b"250 OK", Meaning.DELIVERED),
    ("filtermail", 400, b"523 Encryption Needed: Invalid Unencrypted Mail", Meaning.FINAL),
    ("filtermail", 400, b"554 5.7.1 No DKIM signature found", Meaning.FINAL),
    ("filtermail", 400, b"554 5.7.1 No valid DKIM signature found", Meaning.FINAL),
    ("filtermail", 400, b"500 Invalid FROM header: ", Meaning.FINAL),
    ("filtermail", 400, b"550 5.1.1 <b@a.example> unknown (forwarded from 127.0.0.1)", Meaning.FINAL),
    ("filtermail", 400, b"451 Local error", Meaning.TEMPORARY),
    ("filtermail", 400, b"450 Failed to connect to any of the following addresses", Meaning.TEMPORARY),
    ("filtermail", 400, b"554 Malformed data", Meaning.UNEXPLAINED),
    ("filtermail", 400, b"500 Failed to parse message: x", Meaning.UNEXPLAINED),
    ("filtermail", 405, b"Method Not Allowed", Meaning.NOT_CHATMAIL),
    ("filtermail", 413, b"552 Message exceeds maximum size", Meaning.FINAL),
    ("nginx", 413, b"<html>\r\n<head><title>413 Request Entity Too Large</title>", Meaning.UNEXPLAINED),
    ("nginx", 502, b"<html>\r\n<head><title>502 Bad Gateway</title>", Meaning.TROUBLE),
    ("madmail 2", 200, b"OK", Meaning.DELIVERED),
    ("madmail 2", 400, b"bad request", Meaning.UNEXPLAINED),
    ("madmail 2", 403, b"Forbidden", Meaning.UNEXPLAINED),
    ("madmail 2", 403, b"Encryption Needed: Invalid Unencrypted Mail", Meaning.UNEXPLAINED),
    ("madmail 2", 413, b"message too large", Meaning.UNEXPLAINED),
    ("madmail 2", 413, b"length limit exceeded", Meaning.UNEXPLAINED),
    ("madmail 2", 500, b"error", Meaning.TROUBLE),
    ("madmail 2", 507, b"quota", Meaning.UNEXPLAINED),
    ("madmail 1", 200, b"OK\n", Meaning.DELIVERED),
    ("madmail 1", 400, b"Missing X-Mail-To header\n", Meaning.UNEXPLAINED),
    ("madmail 1", 404, b"404 page not found\n", Meaning.NOT_CHATMAIL),
    ("madmail 1", 500, b"Internal server error\n", Meaning.TROUBLE),
]


@pytest.mark.parametrize(("status", "body", "expected"), [one[1:] for one in IN_THE_WILD])
def test_answers_in_the_wild(status: int, body: bytes, expected: Meaning) -> None:
    assert meaning(status, body) is expected


# What our own receiver may have to say, by Postfix's words or its own.
OURS = [
    *("250 2.0.0 OK queued as 4ABC", "250 2.6.0 Message accepted"),
    *("523 5.7.1 Encryption Needed: Invalid Unencrypted Mail", "554 5.7.1 No DKIM signature found"),
    *("550 5.1.1 User unknown", "552 5.2.2 Mailbox full", "552 5.3.4 Too large", "501 5.1.3 Bad address"),
    *("553 5.7.1 Sender is ours", "550 5.1.10 Null MX", "500 5.7.1 Invalid FROM", "554 5.5.0 Error"),
    *("451 4.7.5 DKIM key lookup failed", "452 4.3.1 Disk full", "421 4.3.2 Stopping", "452 4.2.2 Full"),
]


@pytest.mark.parametrize("wants_json", [True, False])
@pytest.mark.parametrize("line", OURS)
def test_one_answer_of_ours_for_all_is_understood_as_it_was_meant(line: str, wants_json: bool) -> None:
    replies = [reply(line), reply(line, BOB)]
    answer = wire.http_answer(replies, wants_json)
    understood = peer_answer.understand(answer.status, answer.content_type, answer.body, [ALICE, BOB])
    if line[4:7] in ("5.1", "5.2", "4.2"):
        # As of filtermail, which says so of one of several: each is asked about alone.
        assert understood == Understood(Meaning.OF_ONE)
        understood = peer_answer.understand(answer.status, answer.content_type, answer.body, [ALICE])
    code = int(line[:3])
    assert {one.reply.code for one in understood.replies} == {code}
    if code >= 400:
        assert {one.reply.line for one in understood.replies} == {line}


@given(st.lists(st.sampled_from(OURS), min_size=1, max_size=4))
def test_answers_of_ours_that_differ_are_understood_one_by_one(lines: list[str]) -> None:
    replies = [reply(line, f"u{number}@a.example") for number, line in enumerate(lines)]
    answer = wire.http_answer(replies, wants_json=True)
    addresses = [one.address for one in replies]
    understood = peer_answer.understand(answer.status, answer.content_type, answer.body, addresses)
    if len(lines) > 1 and len(set(lines)) == 1 and lines[0][4:7] in ("5.1", "5.2", "4.2"):
        assert understood == Understood(Meaning.OF_ONE)
    else:
        assert [one.reply.line for one in understood.replies] == lines


@pytest.mark.parametrize(
    ("verdict", "status"),
    [
        (codes.BAD_SYNTAX, 400),
        (codes.TOO_LARGE, 413),
        (codes.TOO_MANY_RECIPIENTS, 503),
        (codes.BODY_CUT, 503),
        (codes.QUEUE_AWAY, 503),
        (codes.OUR_FAULT, 503),
    ],
    ids=lambda one: one.reason if isinstance(one, Verdict) else str(one),
)
def test_what_our_receiver_says_itself_is_final_or_not_as_its_code_has_it(
    verdict: Verdict, status: int
) -> None:
    answer = wire.plain(status, verdict.said)
    told = peer_answer.understand(answer.status, answer.content_type, answer.body, [ALICE])
    assert told.meaning is (Meaning.FINAL if verdict.code >= 500 else Meaning.TEMPORARY)


class TestProof:
    @pytest.mark.parametrize(
        ("status", "body"),
        [
            (400, b"501 5.5.4 Syntax error in parameters: X-Mail-To: names no recipient\r\n"),  # ours
            (400, b"500 Invalid FROM header: "),  # filtermail
            (400, b"bad request"),  # madmail 2
            (400, b"Missing X-Mail-To header\n"),  # madmail 1
            (422, b'{"detail": "field required"}'),
            (507, b"quota"),
            (403, b"554 5.7.1 Your address or network is blocked"),
            (503, b"451 4.3.0 Internal error, try again later\r\n"),
        ],
    )
    def test_is_a_refusal_that_receivers_give(self, status: int, body: bytes) -> None:
        assert peer_answer.proof(status, "text/plain", body) is Proof.PROVEN

    @pytest.mark.parametrize("status", [200, 201, 202, 204, 206, 207])
    @pytest.mark.parametrize("body", [b"", b"OK", b"250 2.0.0 OK", b"<html>", b'{"recipients": []}'])
    def test_is_refuted_by_any_yes(self, status: int, body: bytes) -> None:
        for content_type in ("text/html", "application/json"):
            assert peer_answer.proof(status, content_type, body) is Proof.DISPROVEN

    @pytest.mark.parametrize("status", [101, 301, 302, 307, 308, 401, 403, 404, 405, 421, 429, 500, 502, 503])
    @pytest.mark.parametrize("body", [b"", b"<html>", b"404 page not found"])
    def test_is_open_with_what_web_servers_say(self, status: int, body: bytes) -> None:
        assert peer_answer.proof(status, "text/html", body) is Proof.OPEN


class TestJson:
    def test_json_gives_each_recipient_its_own_answer(self) -> None:
        body = wire.encode_json([OK, reply("550 5.1.1 No such user", BOB)])
        understood = peer_answer.understand(200, "application/json; charset=utf-8", body, [BOB, ALICE])
        assert understood.meaning is Meaning.PER_RECIPIENT
        lines = [one.reply.line for one in understood.replies]
        assert lines == ["550 5.1.1 No such user", "250 2.0.0 OK queued"]

    def test_a_recipient_that_json_does_not_name_is_tried_again(self) -> None:
        understood = peer_answer.understand(200, "application/json", wire.encode_json([OK]), [ALICE, BOB])
        assert [one.reply.code for one in understood.replies] == [250, 451]

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
        assert peer_answer.understand(200, "application/json", body, [ALICE]).meaning is Meaning.NOT_CHATMAIL

    def test_text_from_a_peer_becomes_one_short_printable_line(self) -> None:
        body = b"550 5.1.1 a\0b\x1b[31m" + b"c" * 100_000 + b"\r\nsecond"
        (only,) = peer_answer.understand(400, "", body, [ALICE]).replies
        assert only.reply.text.isprintable()
        assert len(only.reply.line) <= 512

    @given(
        status=st.integers(100, 999),
        content_type=st.sampled_from(["", "text/plain", "application/json"]),
        body=st.binary(max_size=200),
    )
    def test_nothing_that_a_peer_says_raises(self, status: int, content_type: str, body: bytes) -> None:
        understood = peer_answer.understand(status, content_type, body, [ALICE, BOB])
        silent = (Meaning.UNEXPLAINED, Meaning.TROUBLE, Meaning.NOT_CHATMAIL)
        assert len(understood.replies) == (0 if understood.meaning in silent else 2)

    def test_json_with_another_status_than_ours_is_no_delivery(self) -> None:
        for status in (201, 202, 206, 207, 226):
            body = wire.encode_json([OK, reply("550 5.1.1 No such user", BOB)])
            understood = peer_answer.understand(status, "application/json", body, [ALICE, BOB])
            assert understood.meaning is Meaning.NOT_CHATMAIL
