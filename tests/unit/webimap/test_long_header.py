"""The envelope that is made of the first octets of a long header is what Dovecot's ENVELOPE would say."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from imapclient.response_types import Address

from mxdeliv_app.webimap import long_header

MOMENT = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
WHOLE = (
    f"Date: {format_datetime(MOMENT)}\r\n"
    "Subject: =?utf-8?q?caf=C3=A9?=\r\n and more\r\n"
    'From: "Doe, Jane" <jane@a.test>\r\n'
    "To: b@b.test,\r\n\tCarol <c@c.test>\r\n"
    "Message-ID: <1@a.test>\r\n"
    "In-Reply-To: <0@b.test>\r\n"
    "\r\n"
).encode()


def test_each_field_is_as_it_was_written() -> None:
    found = long_header.envelope(WHOLE)
    assert found.date == MOMENT
    assert found.subject == b"=?utf-8?q?caf=C3=A9?= and more"
    assert found.from_ == (Address(b"Doe, Jane", None, b"jane", b"a.test"),)
    assert found.to == (Address(b"", None, b"b", b"b.test"), Address(b"Carol", None, b"c", b"c.test"))
    assert found.cc == ()
    assert (found.message_id, found.in_reply_to) == (b"<1@a.test>", b"<0@b.test>")


@pytest.mark.parametrize("end", range(len(b"To: b@b.test, caro"), len(b"To: b@b.test, carol@c.test")))
def test_an_address_that_is_cut_off_is_nobody_s(end: int) -> None:
    (only,) = long_header.envelope(b"To: b@b.test, carol@c.test"[:end]).to
    assert (only.mailbox, only.host) == (b"b", b"b.test")


@pytest.mark.parametrize(
    "octets",
    [b"", b"\r\n\r\n", b"To", b"Date: x\r\n", b"Date: Mon, 1 Jan 99999 00:00:00 +0000\r\n",
     b"Subject: \xff\xfe\r\n", b"From: <<@,\x00;:\r\n\r\n", b"To: " + b"(" * 60_000, b"\xff: \xff\r\n",
     # The end is there, so that the field is read and not cut off.
     *(b"To: " + 65_000 // len(one) * one + b"\r\n\r\n"
       for one in (b"(", b'"', b"<", b"[", b"@", b"a:", b"a:;", b"(a)", b"<@a,", b"\\", b"a.", b"\xff"))],
    ids=range(21),
)  # fmt: skip
def test_what_is_no_header_is_an_envelope_all_the_same(octets: bytes) -> None:
    found = long_header.envelope(octets)
    assert found.date is None
    assert found.message_id == b""
