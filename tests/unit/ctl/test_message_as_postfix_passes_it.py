"""A message file as Postfix would pass it to the milter; tests/e2e/test_gate_check.py asks a real Postfix."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest

from chatmail_milter.ctl.received import receive
from chatmail_milter.gate.gate import Direction
from chatmail_milter.rules.outgoing import ALLOWED
from tests.work import assert_linear

POSTFIX = Path(__file__).resolve().parents[3] / "postfix"
Fields = list[tuple[str, bytes]]


def received(octets: bytes, direction: Direction = Direction.IN) -> tuple[Fields, bytes]:
    found = receive(io.BytesIO(octets), direction)
    assert found is not None
    # Without the space that nearly all fields have after the colon.
    return [(name, value.removeprefix(b" ")) for name, value in found.fields], b"".join(found.body)


@pytest.mark.parametrize(
    ("octets", "fields", "body"),
    [
        (b"\r\n", [], b""),
        (b"\nHello", [], b"Hello\r\n"),
        (b"X: a\r\n\r\nb", [("X", b"a")], b"b\r\n"),
        (b"X: a\n b\n\nc\nd\n", [("X", b"a\n b")], b"c\r\nd\r\n"),
        (b"X: a", [("X", b"a")], b""),
        (b"X: a\r\n", [("X", b"a")], b""),
        (b"X:a\r\nY:\tb\r\nZ:  c\r\n", [("X", b"a"), ("Y", b"\tb"), ("Z", b" c")], b""),
        (b"X \t : a\r\n", [("X", b"a")], b""),
        # A CR that ends no line is a space, and so ends none afterwards.
        (b"X: a\rY: b\r\n\r\nc\rd\r\r\n", [("X", b"a Y: b")], b"c d \r\n"),
        (b"X: a\r\n\r\nb\r", [("X", b"a")], b"b \r\n"),
        (b"X\0: \0a\r\n\0\r\nb\0c\0\r\n", [("X", b"a")], b"bc\r\n"),
        (b"From a Mon\r\nX: a\r\n\r\nb", [("X-Mailbox-Line", b"From a Mon"), ("X", b"a")], b"b\r\n"),
        (
            b">From a\nFrom b\nX: a\n",
            [("X-Mailbox-Line", b">From a"), ("X-Mailbox-Line", b"From b"), ("X", b"a")],
            b"",
        ),
        (b"X: a\r\nFrom b\r\n\r\nc", [("X", b"a")], b"From b\r\n\r\nc\r\n"),
        (b" X: a\r\n\r\nb", [], b" X: a\r\n\r\nb\r\n"),
        (b"\xef\xbb\xbfX: a\r\n\r\nb", [], b"\xef\xbb\xbfX: a\r\n\r\nb\r\n"),
        (b"X: a\r\nHello, Bob\r\n\r\nc", [("X", b"a")], b"Hello, Bob\r\n\r\nc\r\n"),
        (b"X: a\r\n: b\r\n", [("X", b"a")], b": b\r\n"),
        (b"X: a\r\n\r\n.\r\n..\r\n", [("X", b"a")], b".\r\n..\r\n"),
        (b"Bcc: a\r\nReturn-Path: <a>\r\nContent-Length: 1\r\nResent-Bcc: b\r\nX: a\r\n", [("X", b"a")], b""),
        (b"Authentication-Results: a\r\nX: a\r\n", [("X", b"a")], b""),
        # Longer than what Postfix reads at a time: 2048.
        (b"X: " + b"x" * 5000 + b"\r\n\r\n" + b"y" * 5000, [("X", b"x" * 5000)], b"y" * 5000 + b"\r\n"),
        (b"X: " + b"x" * 2045 + b"\r\nY: a\r\n", [("X", b"x" * 2045), ("Y", b"a")], b""),
        (b"X: " + b"x" * 2044 + b"\r\nY: a\r\n", [("X", b"x" * 2044), ("Y", b"a")], b""),
        (b"X: " + b"x" * 2044 + b"\ry\r\n", [("X", b"x" * 2044 + b" y")], b""),
        # No field has more than 60,000 octets: cut in a line, and before one that doesn't fit.
        (b"X: " + b"x" * 70_000, [("X", b"x" * 59_997)], b""),
        (b"X: " + b"x" * 59_997 + b"\r\n y\r\n", [("X", b"x" * 59_997)], b""),
        (
            b"X: a\r\n " + b"x" * 1999 + (b"\r\n " + b"x" * 1998) * 40 + b"\r\n b\r\nY: a",
            [("X", b"a\n " + b"x" * 1999 + (b"\n " + b"x" * 1998) * 28), ("Y", b"a")],
            b"",
        ),
    ],
)
def test_what_the_milter_sees(octets: bytes, fields: Fields, body: bytes) -> None:
    assert received(octets) == (fields, body)


@pytest.mark.parametrize(
    ("octets", "fields", "body"),
    [
        (b"From a Mon\r\nX: a\r\n\r\nb", [("X-Mailbox-Line", b"From a Mon"), ("X", b"a")], b"b\r\n"),
        (b"From a\nFrom b\nX: a\n", [("X-Mailbox-Line", b"From a")], b"From b\r\nX: a\r\n"),
        (b"From a\n b\nX: a\n", [("X-Mailbox-Line", b"From a\n b"), ("X", b"a")], b""),
        (b" X: a\r\n\r\nb", [], b" X: a\r\n\r\nb\r\n"),
    ],
)
def test_what_the_milter_sees_behind_postfix_3_10(octets: bytes, fields: Fields, body: bytes) -> None:
    found = receive(io.BytesIO(octets), Direction.IN, (3, 10))
    assert found is not None
    assert [(name, value.removeprefix(b" ")) for name, value in found.fields] == fields
    assert b"".join(found.body) == body


def test_values_are_as_they_stand_after_the_colon() -> None:
    found = receive(io.BytesIO(b"X:a\r\nY:\tb\r\nZ:  c\r\nW: d\n e\r\nV\t:  f"), Direction.IN)
    assert found is not None
    fields = [("X", b"a"), ("Y", b"\tb"), ("Z", b"  c"), ("W", b" d\n e"), ("V", b"  f")]
    assert list(found.fields) == fields


def test_an_empty_file_is_no_message() -> None:
    assert receive(io.BytesIO(b""), Direction.IN) is None


def test_of_what_goes_out_the_fields_that_leave_stay() -> None:
    fields, _ = received(
        b"X-Mailer: a\r\nFROM: b\r\nReceived: c\r\nSubject: d\r\nAuthentication-Results: e\r\n", Direction.OUT
    )
    assert fields == [("FROM", b"b"), ("Subject", b"d")]


def test_the_body_comes_in_chunks_as_a_milter_gets_them() -> None:
    found = receive(io.BytesIO(b"X: a\n\n" + b"x" * 200_000), Direction.IN)
    assert found is not None
    assert [len(chunk) for chunk in found.body] == [65_535, 65_535, 65_535, 200_002 - 3 * 65_535]


@pytest.mark.slow
@pytest.mark.parametrize(
    "unit",
    [
        b"X: yyyyyyyyyy\n",
        b" xxxxxxxxxx\n",
        b"x",
        b"\n",
        b"\r",
        b"\0",
        b"From          \n",
        b"X: y\n yyyyy\n",
    ],
)
def test_hostile_files_cost_work_in_proportion(unit: bytes) -> None:
    assert_linear(lambda size: received(b"X: y\n" + unit * (size // len(unit))), 8_000)


def test_header_checks_are_those_of_postfix() -> None:
    (kept,) = re.findall(
        r"^!/\^\((.*)\)\[\[:space:]]\*:/ IGNORE$", (POSTFIX / "submission_header_checks").read_text(), re.M
    )
    assert kept.split("|") == [name.decode() for name in ALLOWED]
    rules = [line for line in (POSTFIX / "inbound_header_checks").read_text().splitlines() if line[:1] != "#"]
    assert rules == ["/^Authentication-Results[[:space:]]*:/ IGNORE"]


def test_so_are_its_settings() -> None:
    settings = (POSTFIX / "main.cf").read_text()
    assert "\nsmtpd_forbid_bare_newline = normalize\n" in settings
    assert "\nmessage_strip_characters = \\0\n" in settings
    assert "\ndisable_mime_input_processing = yes\n" in settings
    for default in (
        "message_drop_headers",
        "line_length_limit",
        "header_size_limit",
        "cleanup_replace_stray",
    ):
        assert f"\n{default}" not in settings, "received.py goes by Postfix's default"
