"""`POST /mxdeliv` streams the body to Postfix as SMTP DATA (docs/wire.md, 2.2)."""

from __future__ import annotations

import pytest

from tests.blackbox.web.receiver import ALICE, MAX, Receiver


@pytest.mark.parametrize(
    ("body", "data"),
    [
        (b"A: b\n\nx\n", b"A: b\r\n\r\nx\r\n"),
        (b"A: b\r\n\r\nx", b"A: b\r\n\r\nx\r\n"),
        (b"A: b\r\n\r\n.x\r\n..y\r\n", b"A: b\r\n\r\n..x\r\n...y\r\n"),
        (b"A: b\r\n\r\n..x\r\n", b"A: b\r\n\r\n..x\r\n"),
        (b"A: b\r\n\r\n\0\xff\r\n", b"A: b\r\n\r\n\0\xff\r\n"),
        (b"A: b\r\n\r\nx\ry\r\n", b"A: b\r\n\r\nx y\r\n"),
        (b"", b""),
    ],
)
def test_is_normalised_and_stuffed_once(receiver: Receiver, body: bytes, data: bytes) -> None:
    assert receiver.post(ALICE, body=body).status == 200
    assert receiver.inject.messages() == [data]


@pytest.mark.parametrize("end", [b"\n.\n", b"\n.\r\n", b"\r.\r\n", b"\r\n.\n", b"\r\n.\r", b"\r\n.\r\n"])
def test_can_not_smuggle_a_second_message(receiver: Receiver, end: bytes) -> None:
    smuggled = b"A: b\r\n\r\nx" + end + b"MAIL FROM:<x@y>\r\nRCPT TO:<z@y>\r\nDATA\r\nhello\r\n.\r\n"
    assert receiver.post(ALICE, body=smuggled).status == 200
    assert len(receiver.inject.messages()) == 1
    assert len(receiver.inject.conversations[0].commands) == 6


def test_too_large_is_a_413_before_any_of_it_is_sent(receiver: Receiver) -> None:
    answer = receiver.post(ALICE, body=b"x" * (MAX + 1))
    assert (answer.status, answer.first_line[:9]) == (413, "552 5.3.4")
    assert receiver.inject.conversations == []


def test_too_large_without_a_length_is_a_413_and_never_accepted(receiver: Receiver) -> None:
    answer = receiver.post(ALICE, body=(b"x" * 76 + b"\r\n" for _ in range(MAX // 78 + 1)))
    assert (answer.status, answer.first_line[:9]) == (413, "552 5.3.4")
    assert receiver.inject.messages() == []


@pytest.mark.parametrize(
    "begun",
    [b"Content-Length: 1000\r\n\r\nA: b\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n5\r\nA: b\n\r\n3"],
)
def test_a_body_that_is_cut_off_is_never_accepted(receiver: Receiver, begun: bytes) -> None:
    request = f"POST /mxdeliv HTTP/1.1\r\nHost: x\r\nX-Real-IP: 203.0.113.7\r\nX-Mail-To: {ALICE}\r\n"
    with receiver.app.connect() as connection:
        connection.sendall(request.encode() + begun)
        connection.shutdown(1)
        assert connection.recv(100).startswith(b"HTTP/1.1 503 ")
    assert receiver.inject.messages() == []
