"""What a sender writes into a message's header must not make a mailbox unreadable."""

from __future__ import annotations

import imaplib
import io
from typing import Any

import pytest
from imapclient.response_types import Address, Envelope

from mxdeliv_app.webimap import mailbox

ENVELOPE = Envelope(None, b"hello", *[None] * 8)


class DatesBeyondAllYears:
    """IMAPClient in front of a mailbox in which the messages of some UIDs have such a date."""

    size = 5
    envelope = ENVELOPE
    header = b""

    def __init__(self, *uids: int) -> None:
        self._uids = uids
        self.asked: list[list[int]] = []

    def fetch(self, uids: list[int], items: list[str]) -> dict[int, dict[bytes, Any]]:
        self.asked.append(uids)
        if "ENVELOPE" in items and set(uids) & set(self._uids):
            raise OverflowError("Python int too large to convert to C int")
        said: dict[bytes, Any] = {b"SEQ": 1, b"FLAGS": (), b"RFC822.SIZE": self.size, b"INTERNALDATE": None}
        said[b"BODY[HEADER]<65536>"] = self.header
        return {uid: said | ({b"ENVELOPE": self.envelope} if "ENVELOPE" in items else {}) for uid in uids}


def test_a_date_beyond_all_years_empties_the_envelope_of_its_message_alone() -> None:
    session = mailbox.WebMailbox.__new__(mailbox.WebMailbox)
    session._imap = DatesBeyondAllYears(2)  # type: ignore[assignment]
    found = session._described([1, 2, 3])
    assert [(one["uid"], one["envelope"]["subject"]) for one in found] == [
        (1, "hello"),
        (2, ""),
        (3, "hello"),
    ]


def test_a_long_line_is_read_whole_and_one_that_is_too_long_ends_the_session() -> None:
    session = mailbox._Proxied.__new__(mailbox._Proxied)
    line = b"x" * 2_000_000 + b"\r\n"
    session.file = io.BufferedReader(io.BytesIO(line + b"x" * (9 << 20)))
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


def test_envelopes_of_long_headers_are_read_one_by_one_and_few(monkeypatch: pytest.MonkeyPatch) -> None:
    session = mailbox.WebMailbox.__new__(mailbox.WebMailbox)
    large = DatesBeyondAllYears()
    session._imap = large  # type: ignore[assignment]
    large.size, large.header = 2_000_000, b"x"
    # What a header of 256 KiB has.
    many = (Address(None, None, b"a", b"b"),) * 131_072
    large.envelope = Envelope(None, None, many, None, None, many, None, None, None, None)
    found = session._described(list(range(1, 21)))
    assert large.asked == [list(range(1, 21))] * 2 + [[uid] for uid in range(1, 7)]
    assert [len(one["envelope"]["to"]) for one in found] == [1000] * 6
    # Nobody waits for those who read such headers, with large messages neither.
    monkeypatch.setattr(mailbox, "_large", None)
    large.header, large.envelope = b"", ENVELOPE
    assert len(session._described([1, 2])) == 2
    large.size = 2000
    large.asked.clear()
    assert len(session._described(list(range(1, 201)))) == 200
    assert len(large.asked) == 2 + 7
