"""A message read from a file: its fields, and where the body begins."""

from __future__ import annotations

import io

import pytest

from chatmail_milter.gate.message import read


@pytest.mark.parametrize(
    ("octets", "fields", "body"),
    [
        (b"", [], b""),
        (b"\r\n", [], b""),
        (b"\nHello", [], b"Hello"),
        (b"Subject: a\r\n\r\nb", [(b"subject", b"a")], b"b"),
        (b"Subject: a\n b\nX: y\n z\n\nc", [(b"subject", b"a\n b")], b"c"),
        (b"SUBJECT :a\r\n\t b\r\n", [(b"subject", b"a\r\n\t b")], b""),
        (b"Subject: a\r\nHello, Bob\r\n\r\nc", [(b"subject", b"a")], b"Hello, Bob\r\n\r\nc"),
        (b"From: a\nFrom: b\nFrom: c\n\n", [(b"from", b"a"), (b"from", b"b")], b""),
        (b" x\nSubject: a", [(b"subject", b"a")], b""),
        # A line is a line, however long: what stands far along in it is no field.
        (b"X: " + b"x" * 65533 + b"From: a\nSubject: b\n\nc", [(b"subject", b"b")], b"c"),
        (b"X: " + b"x" * 65533 + b"\nSubject: b\n\nc", [(b"subject", b"b")], b"c"),
        (b"x" * 100_000 + b"\n\nc", [], b"x" * 100_000 + b"\n\nc"),
    ],
)
def test_what_is_read(octets: bytes, fields: list[tuple[bytes, bytes]], body: bytes) -> None:
    opened = read(io.BytesIO(octets))
    assert list(opened.fields) == fields
    assert b"".join(opened.body) == body
    assert opened.header_octets == len(octets) - len(body)


def test_a_long_field_stays_too_long() -> None:
    opened = read(io.BytesIO(b"Content-Type: " + b"x" * 100_000 + b"\r\n\r\n"))
    # What a field may have, RFC or not: the gate reads up to 4096 octets.
    assert 4096 < len(opened.fields[0][1]) < 5000
