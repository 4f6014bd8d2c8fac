"""Hostile HTTP: versions, header injection, request smuggling, clients that hang up.

nginx refuses most of this before the app sees it (`tests/e2e/test_mxdeliv_http.py`); the app doesn't lean on
that.
"""

from __future__ import annotations

import pytest

from tests.blackbox.web.receiver import ALICE, BOB, MESSAGE, Receiver, head

LENGTH = f"Content-Length: {len(MESSAGE)}"
CHUNKED = "Transfer-Encoding: chunked"
CHUNKS = b"%x\r\n%s\r\n0\r\n\r\n" % (len(MESSAGE), MESSAGE)
SECOND = head(LENGTH, to=BOB) + MESSAGE


def statuses(answer: bytes) -> list[bytes]:
    """The status of each response in what a connection gave."""
    return [line.split(b" ")[1] for line in answer.split(b"\r\n") if line.startswith(b"HTTP/1.")]


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_both_versions_of_http(receiver: Receiver, version: str) -> None:
    assert statuses(receiver.say(head(LENGTH, version=version) + MESSAGE)) == [b"200"]
    assert receiver.inject.messages() == [MESSAGE]


def test_several_messages_on_one_connection(receiver: Receiver) -> None:
    assert statuses(receiver.say((head(LENGTH) + MESSAGE) * 3)) == [b"200"] * 3
    assert receiver.inject.messages() == [MESSAGE] * 3


@pytest.mark.parametrize("field", ["X-Mail-To", "X-Mail-From"])
@pytest.mark.parametrize(
    "value",
    [
        "a@a.example\rRCPT TO:<b@a.example>",
        "a@a.example\nRCPT TO:<b@a.example>",
        "a@a.example\0",
        "a@a.example>\tSIZE=1",
        "<a@a.example> NOTIFY=SUCCESS",
        "<a@a.example",
        "a@a.example>",
        "a b@a.example",
        '"a\\"@a.example',
        "j\u00fcrgen@a.example",
        "a@\u00e4.example",
        "a@a.example\x7f",
        "a@a.example\x1b[2J",
        "@b.example:a@a.example",
        "a@a.example@b.example",
        "a" * 65 + "@a.example",
        "a@" + "a." * 130 + "example",
    ],
)
def test_a_header_field_can_not_say_anything_but_an_address(
    receiver: Receiver, field: str, value: str
) -> None:
    other = "X-Mail-From: x@b.example" if field == "X-Mail-To" else f"X-Mail-To: {ALICE}"
    lines = ["POST /mxdeliv HTTP/1.1", "Host: x", "X-Real-IP: 192.0.2.1", other, f"{field}: {value}", LENGTH]
    request = "\r\n".join([*lines, "", ""]).encode("utf-8") + MESSAGE
    [status] = statuses(receiver.say(request))
    assert status == b"400"
    assert receiver.inject.conversations == []


@pytest.mark.parametrize("name", ["X_Mail_To", "X-Mail_To", "X-Mail-To ", "X-Mail-To\t"])
def test_no_other_field_passes_for_one_of_ours(receiver: Receiver, name: str) -> None:
    lines = ["POST /mxdeliv HTTP/1.1", "Host: x", "X-Real-IP: 192.0.2.1", f"{name}: {ALICE}", LENGTH]
    assert statuses(receiver.say("\r\n".join([*lines, "", ""]).encode() + MESSAGE)) == [b"400"]
    assert receiver.inject.conversations == []


def test_a_folded_field_is_refused_and_no_recipient_of_it_lost(receiver: Receiver) -> None:
    # RFC 9112, 5.2.
    assert statuses(receiver.say(head(LENGTH, to=f"{ALICE},\r\n {BOB}") + MESSAGE)) == [b"400"]
    assert receiver.inject.messages() == []


@pytest.mark.parametrize(
    "request_",
    [
        head(LENGTH, CHUNKED) + CHUNKS,
        head(CHUNKED, LENGTH) + CHUNKS,
        head(LENGTH, "Content-Length: 1") + MESSAGE,
        head("Content-Length: -1") + MESSAGE,
        head("Content-Length: +5") + MESSAGE,
        head("Content-Length: 0x10") + MESSAGE,
        head("Content-Length: 5 5") + MESSAGE,
        head("Content-Length: 1_0") + MESSAGE,
        head("Transfer-Encoding: chunked, identity") + CHUNKS,
        head("Transfer-Encoding: xchunked") + CHUNKS,
        head("Transfer-Encoding : chunked") + CHUNKS,
        head(CHUNKED) + b"-5\r\n" + MESSAGE,
        head(CHUNKED) + b"0x5\r\nhello\r\n0\r\n\r\n",
        head(CHUNKED) + b"fffffffffffffffff\r\n" + MESSAGE,
        head(CHUNKED) + b"5\r\nhelloworld\r\n0\r\n\r\n",
        head(CHUNKED) + b"5 \nhello\r\n0\r\n\r\n",
        head(CHUNKED) + b"zz\r\nhello\r\n0\r\n\r\n",
    ],
)
def test_a_message_whose_length_is_in_doubt_is_refused_and_ends_its_connection(
    receiver: Receiver, request_: bytes
) -> None:
    answered = statuses(receiver.say(request_ + SECOND))
    assert len(answered) == 1
    assert answered[0] in (b"400", b"501", b"503")
    assert receiver.inject.messages() == []
    # That request only: the next peer is served.
    assert receiver.post(ALICE).status == 200


@pytest.mark.parametrize(
    "body",
    [
        b"zz\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhelloworld\r\n0\r\n\r\n",
        b"5;=\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhello\r\n0\r\nno field\r\n\r\n",
        b"5\r\nhello\r\n0\r\nContent-Length: 5\r\n\r\n",
    ],
)
@pytest.mark.parametrize(
    ("begun", "expected"),
    [
        (head(CHUNKED), b"400"),
        (head(CHUNKED, to="no address"), b"400"),
        (head(CHUNKED).replace(b"POST", b"PUT"), b"405"),
    ],
)
def test_a_malformed_chunk_is_the_peers_mistake_and_no_bug_of_ours(
    receiver: Receiver, begun: bytes, expected: bytes, body: bytes
) -> None:
    before = receiver.app.log
    assert statuses(receiver.say(begun + body + SECOND)) == [expected]
    assert receiver.inject.messages() == []
    logged = receiver.app.log.removeprefix(before)
    assert "event=bug" not in logged
    assert "Traceback" not in logged


@pytest.mark.parametrize(
    "begun",
    [
        head("Content-Length: 1000") + b"A: b\r\n\r\n",
        head("Content-Length: 1000"),
        head(CHUNKED) + b"5\r\nA: b\n\r\n3",
        head(CHUNKED) + b"5\r\nA: b\n\r\n",
        head("Content-Length: 200000") + b"A: b\r\n\r\n" + b"x" * 100_000,
    ],
)
@pytest.mark.parametrize("reset", [False, True])
def test_a_peer_that_goes_away_leaves_no_message(receiver: Receiver, begun: bytes, reset: bool) -> None:
    answer = b""
    with receiver.app.connect() as connection:
        connection.sendall(begun)
        if not reset:
            connection.shutdown(1)
            answer = connection.recv(100)
    assert reset or answer.startswith(b"HTTP/1.1 503 ")
    assert receiver.post(ALICE).status == 200
    assert receiver.inject.messages() == [MESSAGE]
