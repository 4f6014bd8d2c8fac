"""The allow-list of outgoing header fields: which ones leave, and the changes that remove the others."""

from __future__ import annotations

import base64
import email
import re
from pathlib import Path

import pytest

from chatmail_milter.gate.gate import Direction, Envelope, Gate
from chatmail_milter.rules.outgoing import ALLOWED, HeaderChange, OutgoingHeader
from tests import packets
from tests.case_files import FILES
from tests.corpus import Sample, committed
from tests.milter_client import fields

ROOT = Path(__file__).parents[3]

# The fields that stay, typed again: those that the gate takes once, and twice.
ONCE = {
    "from",
    "to",
    "cc",
    "reply-to",
    "date",
    "message-id",
    "in-reply-to",
    "references",
    "subject",
    "content-type",
    "content-transfer-encoding",
}
AGAIN = {
    "mime-version",
    "autocrypt",
    "autocrypt-setup-message",
    "auto-submitted",
    "chat-version",
    "chat-is-post-message",
    "chat-is-full-message",
    "chat-disposition-notification-to",
    "secure-join",
    "secure-join-invitenumber",
}
STAY = ONCE | AGAIN
# What mail programs write besides.
GO = (
    "Bcc",
    "Sender",
    "Received",
    "User-Agent",
    "X-Mailer",
    "X-Originating-IP",
    "Return-Path",
    "DKIM-Signature",
    "Authentication-Results",
    "ARC-Seal",
    "Comments",
    "Keywords",
    "Organization",
    "Content-Language",
    "Content-Disposition",
    "Content-Description",
    "Disposition-Notification-To",
    "Return-Receipt-To",
    "Mail-Followup-To",
    "Importance",
    "X-Priority",
    "Thread-Topic",
    "Thread-Index",
    "Openpgp",
    "List-Id",
    "List-Unsubscribe",
    "Resent-From",
    "Chat-Group-Name",
    "Chat-User-Avatar",
    "X-Mozilla-Draft-Info",
    "X-Anything",
    "From_",
    "Subjects",
)


def changes(*given: tuple[str, str], setup_message: bool = False) -> list[tuple[str, int, str | None]]:
    header = OutgoingHeader()
    for name, value in given:
        header.stays(name.lower().encode(), value.encode())
    return [(one.name, one.number, one.value) for one in header.changes(setup_message=setup_message)]


HIDDEN = ("Subject", "[...]")


def stays(name: str, value: str) -> bool:
    return changes((name, value), HIDDEN) == []


def test_the_list_is_the_one_that_is_documented() -> None:
    assert {name.decode() for name in ALLOWED} == STAY
    rows = re.findall(
        r"^\| `([A-Za-z-]+)` \| ([^|]+) \|$", (ROOT / "docs/header.md").read_text(), re.MULTILINE
    )
    documented = {name.lower().encode(): reason for name, reason in rows}
    assert {name: documented.get(name) for name in ALLOWED} == {
        name: allowed.reason for name, allowed in ALLOWED.items()
    }


def test_postfix_takes_off_the_same_fields() -> None:
    lines = (ROOT / "postfix/submission_header_checks").read_text().splitlines()
    (rule,) = [line for line in lines if line and not line.startswith("#")]
    matched = re.fullmatch(r"!/\^\(([a-z|-]+)\)\[\[:space:\]\]\*:/ +IGNORE", rule)
    assert matched
    assert set(matched[1].split("|")) == STAY


@pytest.mark.parametrize("name", GO)
def test_what_no_reader_needs_goes(name: str) -> None:
    assert changes((name, "x"), HIDDEN) == [(name.lower(), 1, None)]


@pytest.mark.parametrize("sample", [one for one in committed() if one.outgoing != "none"], ids=str)
def test_what_real_programs_write_stays(sample: Sample) -> None:
    header = sample.octets.partition(b"\r\n\r\n")[0]
    given = [(name.decode(), value.decode()) for name, value in fields(header)]
    assert [change for change in changes(*given) if change[0] != "Subject"] == []


# Header fields of encrypted messages, in the order in which these programs write them.
PROGRAMS = {
    "Thunderbird": (
        "Message-ID",
        "Date",
        "MIME-Version",
        "-User-Agent",
        "Subject",
        "From",
        "To",
        "Cc",
        "References",
        "-Content-Language",
        "Autocrypt",
        "-Organization",
        "In-Reply-To",
        "Content-Type",
    ),
    "mutt": (
        "Date",
        "From",
        "To",
        "Cc",
        "Subject",
        "Message-ID",
        "-Mail-Followup-To",
        "References",
        "MIME-Version",
        "Content-Type",
        "-Content-Disposition",
        "In-Reply-To",
        "Autocrypt",
        "-User-Agent",
    ),
    "K-9": (
        "Date",
        "-User-Agent",
        "In-Reply-To",
        "References",
        "Subject",
        "To",
        "From",
        "Reply-To",
        "Message-ID",
        "Autocrypt",
        "MIME-Version",
        "Content-Type",
        "Content-Transfer-Encoding",
    ),
    "Apple Mail": (
        "From",
        "Content-Type",
        "Mime-Version",
        "Subject",
        "Message-Id",
        "Date",
        "To",
        "-X-Mailer",
    ),
}
# A public key of 10 kB: the packet's header, then what looks like noise.
KEY = base64.b64encode(b"\x99\x1d\x4a\x04" + packets.noise(7496)).decode()
WORDS = "mQINitwasthebestoftimesitwastheworstoftimesitwastheageofwisdom/" + "+"


def folded(width: int, by: str = "\r\n ", shorter: int = 0) -> str:
    """The key in lines, the first of them shorter by so many characters."""
    first = width - shorter
    return by.join([KEY[:first], *(KEY[at : at + width] for at in range(first, len(KEY), width))])


VALUES = {
    "references": "<a@a.example>\r\n <b@b.example>",
    "in-reply-to": "<b@b.example>",
    "autocrypt": "addr=a@a.example; prefer-encrypt=mutual; keydata=\r\n xsBNBFAA\r\n +w==",
    "mime-version": "1.0",
    "subject": "[...]",
    "message-id": "<c@a.example>",
    "date": "Sat, 28 Nov 2026 22:33:43 +0100",
}


@pytest.mark.parametrize("names", PROGRAMS.values(), ids=PROGRAMS)
def test_mail_programs_keep_what_answers_and_keys_need(names: tuple[str, ...]) -> None:
    bare = [name.removeprefix("-") for name in names]
    gone = [name.removeprefix("-").lower() for name in names if name.startswith("-")]
    given = [(name, VALUES.get(name.lower(), "x")) for name in bare]
    assert sorted(changes(*given)) == sorted((name, 1, None) for name in gone)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("References", "<a@a.example>"),
        ("References", "<a@a.example>\r\n\t<b$c+d/e@a.example>  <c@[192.0.2.7]>"),
        ("In-Reply-To", " <a@a.example>"),
        ("Autocrypt", "addr=a@a.example; prefer-encrypt=mutual; keydata=xsBNBFAA\r\n +w=="),
        ("Autocrypt", "addr=a@a.example; keydata=\r\n xsBNBFAA\r\n +w=="),
        ("Autocrypt", "addr=a@a.example; _more=x; prefer-encrypt=nopreference;\r\n\tkeydata=xsBNBFAA"),
        ("Autocrypt", "addr=a@a.example; keydata=" + KEY),
        # No packet that we know: what kinds of keys there will be is not ours to say.
        ("Autocrypt", "addr=a@a.example; keydata=" + base64.b64encode(packets.noise(1500)).decode()),
        ("Autocrypt", "addr=a@a.example; keydata=" + folded(64, "\r\n\t")),
        ("Autocrypt", "addr=a@a.example; keydata=\r\n " + folded(76)),
        ("Autocrypt", "addr=a@a.example; prefer-encrypt=mutual; keydata= " + folded(78, " ")),
        ("Autocrypt", "addr=a@a.example; keydata=" + folded(72, shorter=40)),
        ("Auto-Submitted", "auto-generated"),
        ("Chat-Version", "1.0"),
        ("Chat-Disposition-Notification-To", "a@a.example"),
        ("Secure-Join", "vc-request"),
        ("Secure-Join-Invitenumber", "6oM7eYIwVl61vmL5UbVYSs6a"),
        ("To", '"hidden-recipients": ;'),
        ("Message-ID", "<b626e73e-2cb1-442b-a98d-4661b1c078a1@localhost>"),
        ("Message-ID", "\r\n <x$1@[192.0.2.7]>"),
        ("Date", "Sat, 28 Nov 2026 22:33:43 +0000"),
        ("Date", "28 Nov 2026 22:33 GMT"),
        ("Date", "Sat,  7 Nov 2026 22:33:43 -0000 (UTC)"),
        ("Date", "Sat, 7 Nov 2026 22:33:43 +0100 (GMT+01:00)"),
        ("MIME-Version", "1.0"),
    ],
)
def test_fields_in_the_form_that_programs_write_stay(name: str, value: str) -> None:
    assert stays(name, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("References", "meet me at nine"),
        ("Message-ID", "meet me at nine"),
        ("Message-ID", "<meet@nine> meet me"),
        ("Message-ID", "<a@a.example> <b@b.example>"),
        ("Date", "Meet me at nine"),
        ("Date", "Sat, 28 Nov 2026 22:33:43 +0000 (meet me, at nine)"),
        ("Date", "Sat, 28 Nov 2026 22:33:43 +0000 meet me"),
        ("Date", ""),
        ("References", "<a@a.example> meet me"),
        ("References", "<meet me at nine>"),
        ("References", ""),
        ("In-Reply-To", "your message of Friday <a@a.example>"),
        ("Autocrypt", "meet me at nine"),
        ("Autocrypt", "addr=a@a.example; keydata=meet me, at nine"),
        ("Autocrypt", "addr=a@a.example; comment=x; keydata=xsBNBF"),
        ("Autocrypt", "addr=a@a.example; _more=meet me; keydata=xsBNBF"),
        ("Autocrypt", "addr=a@a.example; keydata=mQIN It was the best of times and it was the worst of it"),
        ("Autocrypt", "addr=a@a.example; keydata=" + KEY[:64] + " meet me at nine " + KEY[64:127] + "="),
        ("Autocrypt", "addr=a@a.example; keydata=" + WORDS * 20),
        ("Autocrypt", "addr=a@a.example; keydata=" + KEY[:4080] + WORDS * 20),
        ("Autocrypt", "addr=a@a.example; keydata=xsBNB"),
        ("Autocrypt", "addr=a@a.example; " + "_more=meet.me.at.nine; " * 4 + "keydata=" + KEY),
        ("Auto-Submitted", "auto-generated; meet me"),
        ("Chat-Version", "meet me at nine"),
        ("Chat-Version", "x" * 257),
        ("Chat-Version", ""),
        ("Secure-Join", "vc-request\r\n meet me"),
        ("Chat-Disposition-Notification-To", "Meet Me <a@a.example>"),
    ],
)
def test_in_another_form_they_go(name: str, value: str) -> None:
    assert changes((name, value), HIDDEN) == [(name.lower(), 1, None)]


def test_a_key_in_one_line_stays() -> None:
    message = email.message_from_bytes((FILES / "A0-autocrypt-one-line.eml").read_bytes())
    assert len(message["Autocrypt"]) > 2000
    assert stays("Autocrypt", message["Autocrypt"])


def test_no_removal_renumbers_one_still_to_come() -> None:
    given = [
        ("X-A", "1"),
        HIDDEN,
        ("References", "x"),
        ("X-B", "1"),
        ("X-A", "2"),
        ("References", "<a@b>"),
        ("x-a", "3"),
    ]
    assert changes(*given) == [
        ("x-a", 3, None),
        ("x-a", 2, None),
        ("x-b", 1, None),
        ("references", 1, None),
        ("x-a", 1, None),
    ]


@pytest.mark.parametrize(
    ("subject", "setup_message", "wanted"),
    [
        (None, False, [("Subject", 0, "[...]")]),
        ("[...]", False, []),
        (" [...] ", False, []),
        ("...", False, [("Subject", 1, "[...]")]),
        ("Meet me at nine", False, [("Subject", 1, "[...]")]),
        ("", False, [("Subject", 1, "[...]")]),
        ("Autocrypt Setup Message", False, [("Subject", 1, "[...]")]),
        ("Autocrypt Setup Message", True, []),
        ("[...]\r\n more", False, [("Subject", 1, "[...]")]),
    ],
)
def test_a_subject_is_hidden(
    subject: str | None, setup_message: bool, wanted: list[tuple[str, int, str | None]]
) -> None:
    given = [("Subject", subject)] if subject is not None else []
    assert changes(("From", "<a@a.example>"), *given, setup_message=setup_message) == wanted


def test_the_comment_in_a_mime_version_goes() -> None:
    assert changes(("Mime-Version", "1.0 (Program 16.0)"), HIDDEN) == [("MIME-Version", 1, "1.0")]


def test_a_second_mime_version_goes_whatever_the_last_one_says() -> None:
    given = [("MIME-Version", "meet me"), HIDDEN, ("Mime-Version", "at nine"), ("MIME-Version", "1.0")]
    assert changes(*given) == [
        ("mime-version", 3, None),
        ("mime-version", 2, None),
        ("MIME-Version", 1, "1.0"),
    ]


@pytest.mark.parametrize("name", sorted(AGAIN))
def test_of_fields_that_the_gate_would_take_again_the_first_stays(name: str) -> None:
    value = VALUES.get(name, "x")
    given = [(name, value), HIDDEN, *[(name, value)] * 3]
    wanted = [(name, number, None) for number in (4, 3, 2)]
    assert [change for change in changes(*given) if change[1] > 1] == wanted


@pytest.mark.parametrize("name", sorted(STAY - AGAIN))
def test_of_the_others_the_gate_refuses_a_second_one(name: str) -> None:
    value = {"from": "<a@a.example>", "content-type": "text/plain"}.get(name, VALUES.get(name, "x"))
    header = OutgoingHeader()
    assert all(header.stays(name.encode(), value.encode()) for _ in range(2))
    given = [(name, value)] * 2 + [("Content-Type", "multipart/encrypted; boundary=x")] * (
        name != "content-type"
    )
    gate = Gate(
        Direction.OUT, Envelope("a@a.example"), [(one.lower().encode(), text.encode()) for one, text in given]
    )
    assert gate.finish().reason in ("header-twice", "content-type", "transfer-encoding")


def test_changes_are_values() -> None:
    header = OutgoingHeader()
    assert header.stays(b"subject", b"[...]")
    assert not header.stays(b"x-a", b"")
    assert header.changes(setup_message=False) == (HeaderChange("x-a", 1, None),)


def test_what_stays_is_signed_so_that_no_second_one_can_be_added() -> None:
    role = ROOT / "ansible/roles/opendkim"
    template = (role / "templates/opendkim.conf.j2").read_text()
    for option in ("SignHeaders", "OverSignHeaders"):
        assert re.search(
            rf"^{option} +{{{{ opendkim_signed_fields \| join\(','\) }}}}$", template, re.MULTILINE
        )
    listed = (role / "vars/main.yml").read_text().partition("opendkim_signed_fields:\n")[2]
    signed = re.findall(r"^  - (\S+)$", listed.partition("\n\n")[0], re.MULTILINE)
    assert len(signed) == len(set(signed))
    assert set(signed) >= STAY
    # And those that programs show though no user of ours sends them.
    assert {"sender", "comments", "content-description", "disposition-notification-to"} <= set(signed)
