"""What a sender writes into a message's header must not make a mailbox unreadable."""

from __future__ import annotations

import imaplib
import io
from typing import Any

import pytest
from imapclient.response_types import Envelope

from mxdeliv_app.webimap import mailbox

ENVELOPE = Envelope(None, b"hello", *[None] * 8)


class DatesBeyondAllYears:
    """IMAPClient in front of a mailbox in which the messages of some UIDs have such a date."""

    size = 5
    envelope = ENVELOPE
    header = b""
    fields = b""

    def __init__(self, *uids: int) -> None:
        self._uids = uids
        self.asked: list[list[int]] = []

    def fetch(self, uids: list[int], items: list[str]) -> dict[int, dict[bytes, Any]]:
        self.asked.append(uids)
        if "ENVELOPE" in items and set(uids) & set(self._uids):
            raise OverflowError("Python int too large to convert to C int")
        said: dict[bytes, Any] = {b"SEQ": 1, b"FLAGS": (), b"RFC822.SIZE": self.size, b"INTERNALDATE": None}
        said[b"BODY[HEADER]<65536>"] = self.header
        said[b"BODY[HEADER.FIELDS (DATE SUBJECT FROM TO CC MESSAGE-ID IN-REPLY-TO)]<0>"] = self.fields
        return {uid: said | ({b"ENVELOPE": self.envelope} if "ENVELOPE" in items else {}) for uid in uids}


def test_a_date_beyond_all_years_is_empty_and_no_other_is() -> None:
    session = mailbox.WebMailbox.__new__(mailbox.WebMailbox)
    dates = session._imap = DatesBeyondAllYears(2)  # type: ignore[assignment]
    dates.fields = b"Date: Mon, 1 Jan 99999 00:00:00 +0000\r\nSubject: far\r\n\r\n"
    found = [(one["uid"], one["envelope"]) for one in session._described([1, 2, 3])]
    assert [(uid, one["subject"]) for uid, one in found] == [(1, "hello"), (2, "far"), (3, "hello")]
    assert found[1][1]["date"] == ""


def test_a_long_line_is_read_whole_and_one_that_is_too_long_ends_the_session() -> None:
    session = mailbox._Proxied.__new__(mailbox._Proxied)
    line = b"x" * 1_500_000 + b"\r\n"
    session.file = io.BufferedReader(io.BytesIO(line + b"x" * (3 << 20)))
    assert session.readline() == line
    with pytest.raises(imaplib.IMAP4.abort):
        session.readline()


@pytest.mark.parametrize(
    ("query", "sent"),
    [("a) (", '"a) ("'), ("{5}", '"{5}"'), ('say "a\\b"', '"say \\"a\\\\b\\""'), ("NIL", '"NIL"')],
)
def test_what_is_searched_for_is_quoted(query: str, sent: str) -> None:
    assert mailbox._criteria(query) == f"OR SUBJECT {sent} OR FROM {sent} TO {sent}"


def test_what_is_not_ascii_is_left_to_a_literal() -> None:
    assert mailbox._criteria("é)")[2] == "é)"


def test_of_long_headers_the_first_octets_of_some_fields_are_read_and_of_few_messages() -> None:
    session = mailbox.WebMailbox.__new__(mailbox.WebMailbox)
    large = DatesBeyondAllYears(*range(1, 21))
    session._imap = large  # type: ignore[assignment]
    large.size, large.header = 2_000_000, b"x"
    large.fields = b"From: a@b\r\nTo: " + b"a@b," * 16_000
    found = session._described(list(range(1, 21)))
    assert large.asked == [list(range(1, 21))] * 2 + [[uid] for uid in range(1, 11)]
    assert [len(one["envelope"]["to"]) for one in found] == [1000] * 10
    # A large message has no long header yet.
    large = session._imap = DatesBeyondAllYears()  # type: ignore[assignment]
    large.size = 2_000_000
    assert [one["envelope"]["subject"] for one in session._described([1, 2])] == ["hello"] * 2
    large.size = 2000
    large.asked.clear()
    assert len(session._described(list(range(1, 201)))) == 200
    assert len(large.asked) == 2 + 7


def test_long_subjects_end_a_list_early() -> None:
    session = mailbox.WebMailbox.__new__(mailbox.WebMailbox)
    large = DatesBeyondAllYears()
    session._imap = large  # type: ignore[assignment]
    large.size, large.header = 2_000_000, b"x"
    large.fields = b"Subject: " + b"x" * 65_500
    assert len(session._described(list(range(1, 201)))) == 16
