"""`POST /mxdeliv` hands Postfix accepted messages for accepted recipients (docs/wire.md, 2.1 to 2.4)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.blackbox.web.receiver import ALICE, BOB, CAROL, MAX, MESSAGE, SENDER, Receiver, receiving


def test_a_message_reaches_postfix_as_the_peers_own(receiver: Receiver) -> None:
    answer = receiver.post(ALICE)
    assert (answer.status, answer.first_line) == (200, "250 2.0.0 Ok: queued as 4ABC")
    assert receiver.inject.messages() == [MESSAGE]
    assert receiver.inject.conversations[0].commands[:6] == [
        "EHLO [203.0.113.7]",
        "XCLIENT ADDR=203.0.113.7 NAME=[UNAVAILABLE] PROTO=ESMTP",
        "EHLO [203.0.113.7]",
        f"MAIL FROM:<{SENDER}> BODY=8BITMIME SIZE={len(MESSAGE)}",
        f"RCPT TO:<{ALICE}>",
        "DATA",
    ]
    # What Postfix calls it, to be found there and at the peer, whose answer has it.
    assert re.search(r"event=received .* queue=4ABC$", receiver.app.log, re.MULTILINE)


@pytest.mark.parametrize(
    ("peer", "attribute", "name"),
    [
        ("2001:db8::7", "IPV6:2001:db8::7", "[IPv6:2001:db8::7]"),
        ("::ffff:203.0.113.7", "203.0.113.7", "[203.0.113.7]"),
    ],
)
def test_peers_by_ipv6(receiver: Receiver, peer: str, attribute: str, name: str) -> None:
    assert receiver.post(ALICE, peer=peer).status == 200
    commands = receiver.inject.conversations[0].commands
    assert commands[1] == f"XCLIENT ADDR={attribute} NAME=[UNAVAILABLE] PROTO=ESMTP"
    assert commands[2] == f"EHLO {name}"


@pytest.mark.parametrize("sender", [None, "", "<>"])
def test_the_null_sender(receiver: Receiver, sender: str | None) -> None:
    assert receiver.post(ALICE, sender=sender).status == 200
    assert receiver.inject.conversations[0].commands[3].startswith("MAIL FROM:<> ")


def test_repeated_joined_and_odd_recipients_are_each_given_once(receiver: Receiver) -> None:
    answer = receiver.post(f"<{ALICE.upper()}>", f"{BOB}, {CAROL}", ALICE, path="/mxdeliv/")
    assert answer.status == 200
    given = [one for one in receiver.inject.conversations[0].commands if one.startswith("RCPT")]
    assert given == [f"RCPT TO:<{one}>" for one in (ALICE, BOB, CAROL)]


@pytest.mark.parametrize("joined", [True, False])
def test_a_thousand_recipients(receiver: Receiver, joined: bool) -> None:
    recipients = [f"user{i:015}@{'x' * 40}.a.example" for i in range(1000)]
    answer = receiver.post(*([",".join(recipients)] if joined else recipients))
    assert answer.status == 200
    assert sum(one.startswith("RCPT") for one in receiver.inject.conversations[0].commands) == 1000


def test_chunked_bodies(receiver: Receiver) -> None:
    answer = receiver.post(ALICE, body=iter([b"A: b\r", b"\n\r\nc", b"d\r\n"]))
    assert answer.status == 200
    assert receiver.inject.messages() == [b"A: b\r\n\r\ncd\r\n"]
    assert "SIZE=" not in receiver.inject.conversations[0].commands[3]


def test_any_content_type(receiver: Receiver) -> None:
    for kind in ("message/rfc822", "application/x-www-form-urlencoded", "application/json", "x"):
        assert receiver.post(ALICE, headers=[("Content-Type", kind)]).status == 200
    assert receiver.inject.messages() == [MESSAGE] * 4


def message(size: int) -> Iterator[bytes]:
    """A message of about so many octets, in pieces."""
    yield b"A: b\r\n\r\n"
    lines = (b"x" * 76 + b"\r\n") * 1000
    yield from (lines for _ in range(size // len(lines)))


@pytest.mark.parametrize("dots", [False, True])
def test_thirty_megabytes_are_passed_on_and_not_held(tmp_path: Path, dots: bool) -> None:
    # Its first line begins with two dots: whether that is stuffing is known at its end (`lines`).
    begin = b"..\r\n" if dots else b""
    with receiving(tmp_path, 31_457_280) as receiver:
        for _ in range(8):  # both workers have read what they read once
            assert receiver.post(ALICE).status == 200
        before = receiver.app.peak_memory
        sent = [begin, *message(31_000_000)]
        assert receiver.post(ALICE, body=iter(sent)).status == 200
        assert receiver.post(ALICE, body=b"".join(sent)).status == 200
        # Of 31 MB, in whichever of two workers: what the kernel hands over at once, and malloc keeps.
        assert receiver.app.peak_memory - before < 10_000_000
        assert sorted(receiver.inject.messages(), key=len)[-2:] == [b"".join(sent)] * 2


def test_a_message_of_the_largest_size(receiver: Receiver) -> None:
    body = b"A: b\r\n\r\n" + (b"x" * 76 + b"\r\n") * ((MAX - 8) // 78)
    assert receiver.post(ALICE, body=body).status == 200
    assert receiver.post(ALICE, body=iter([body[:1000], body[1000:]])).status == 200
    assert receiver.inject.messages() == [body, body]
