"""Delivery reports (RFC 3464): which ones pass, and that no other content passes as a report."""

from __future__ import annotations

import base64

import pytest

from chatmail_milter.gate.gate import Direction, Envelope, Gate, check
from tests import messages, reports
from tests.messages import ALICE, BOB, BOUNDARY, part
from tests.reports import (
    ENCRYPTED,
    HEADER_PART,
    HTML_PART,
    PROGRAM_PART,
    STATUS,
    STATUS_PART,
    TEXT_PART,
    report,
    with_quoted,
    with_status,
)


def reason(octets: bytes, sender: str = "", direction: Direction = Direction.IN) -> str:
    return check(direction, Envelope(sender, (BOB,)), octets).reason


@pytest.mark.parametrize("octets", reports.REAL.values(), ids=reports.REAL.keys())
@pytest.mark.parametrize("eol", [b"\r\n", b"\n"])
def test_as_mail_systems_write_them(octets: bytes, eol: bytes) -> None:
    assert reason(octets.replace(b"\r\n", eol)) == "report"


@pytest.mark.parametrize(
    "author",
    [
        "MAILER-DAEMON@b.example",
        "Mailer-Daemon@b.example",
        "postmaster@b.example",
        "Postmaster@b.example",
        "postmaster-dsn@b.example",
        "MicrosoftExchange329e71ec88ae4615bbc36ab6ce41109e@b.example",
    ],
)
def test_from_the_addresses_of_mail_systems_with_the_null_sender(author: str) -> None:
    assert reason(report(author=author)) == "report"
    assert reason(report(author=author), BOB) == "not-encrypted"
    assert reason(report(author=author), "", Direction.OUT) == "not-encrypted"
    assert reason(report(author="x" + author)) == "not-encrypted"


@pytest.mark.parametrize(
    ("author", "marks", "why"),
    [
        ("postmaster@b.example", (), "report"),  # Courier
        ("mailer-daemon@b.example", (), "not-encrypted"),
        ("postmaster-dsn@b.example", (), "not-encrypted"),
        ("postmaster@b.example", ("no",), "not-encrypted"),
        ("postmaster@b.example", ("auto-replied", "no"), "not-encrypted"),
        ("alice@b.example", ("auto-replied",), "not-encrypted"),
        ("alice@b.example", (), "not-encrypted"),
        ("postmaster@b.example, alice@b.example", ("auto-replied",), "not-encrypted"),
    ],
)
def test_what_says_that_nobody_wrote_them(author: str, marks: tuple[str, ...], why: str) -> None:
    assert reason(report(author=author, marks=marks)) == why


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/report",
        "multipart/report; report-type=disposition-notification",
        "multipart/report; report-type=feedback-report",
        "multipart/report; report-type=delivery-status-2",
        "multipart/report; report-type=",
        "multipart/mixed; report-type=delivery-status",
        "text/plain; report-type=delivery-status",
    ],
)
def test_only_of_this_type(content_type: str) -> None:
    assert reason(report(content_type=content_type)) in ("not-encrypted", "content-type")
    assert reason(report(content_type='Multipart/Report; Report-Type="Delivery-Status"')) == "report"


ALTERNATIVE = part(
    "multipart/alternative; boundary=inner",
    "--inner\r\nContent-Type: text/html\r\n\r\n<p>Buy\r\n--inner--\r\n",
)
IN_BASE64 = base64.encodebytes(STATUS.encode()).decode()
PROGRAM_AS_TEXT = PROGRAM_PART.replace("application/octet-stream; name=a.exe", "text/plain")


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ((TEXT_PART, STATUS_PART), "report"),
        ((), "part-count"),
        ((TEXT_PART,), "part-count"),
        ((STATUS_PART, TEXT_PART), "part-type"),
        ((TEXT_PART, HEADER_PART), "part-type"),
        ((TEXT_PART, STATUS_PART, HEADER_PART, HEADER_PART), "part-count"),
        ((HTML_PART, STATUS_PART, HEADER_PART), "part-type"),
        ((ALTERNATIVE, STATUS_PART, HEADER_PART), "part-type"),
        ((TEXT_PART, STATUS_PART, HTML_PART), "part-type"),
        ((TEXT_PART, STATUS_PART, PROGRAM_PART), "part-type"),
        ((TEXT_PART, STATUS_PART, TEXT_PART), "part-type"),
        ((TEXT_PART, PROGRAM_PART, HEADER_PART), "part-type"),
        ((PROGRAM_AS_TEXT, STATUS_PART, HEADER_PART), "report-text"),
        ((part("text/plain", "a\0b\r\n"), STATUS_PART), "report-text"),
        ((part("text/plain; name=a.html", "<p>Buy now\r\n"), STATUS_PART), "report-text"),
        ((part("text/plain", "x\r\n", "Content-Disposition: attachment"), STATUS_PART), "report-text"),
        (
            (part("text/plain", "x\r\n", "Content-Disposition: inline; filename=a.html"), STATUS_PART),
            "report-text",
        ),
        ((part("text/plain", "x\r\n", "Content-Disposition: inline"), STATUS_PART), "report"),
        ((part("text/plain", "x" * 32_769), STATUS_PART), "report-text"),
        ((part("text/plain", "eA" * 9, "Content-Transfer-Encoding: base64"), STATUS_PART), "base64"),
        ((part("text/plain", "eA==", "Content-Transfer-Encoding: x-y"), STATUS_PART), "transfer-encoding"),
        (
            (part("text/plain", "=C3=A4\r\n", "Content-Transfer-Encoding: quoted-printable"), STATUS_PART),
            "report",
        ),
        ((part("text/plain", "\x1b$B0!\x1b(B\r\n"), STATUS_PART), "report"),
        (
            (TEXT_PART, part("message/delivery-status", IN_BASE64, "Content-Transfer-Encoding: base64")),
            "report",
        ),
        (
            (TEXT_PART, part("message/delivery-status", "eA==", "Content-Transfer-Encoding: base64")),
            "report-status",
        ),
        ((TEXT_PART, part("message/delivery-status; name=details.txt", STATUS)), "report"),
        ((TEXT_PART, part("message/delivery-status; name=details.html", STATUS)), "report-text"),
        (
            (TEXT_PART, STATUS_PART, HEADER_PART.replace("headers", 'headers; name="a.txt.exe"')),
            "report-text",
        ),
        (
            (
                TEXT_PART,
                STATUS_PART,
                part(
                    "text/rfc822-headers", "A: b\r\n", "Content-Disposition: attachment; filename*=x''a.exe"
                ),
            ),
            "report-text",
        ),
        (
            (TEXT_PART, STATUS_PART, part("message/rfc822", "eA==", "Content-Transfer-Encoding: base64")),
            "transfer-encoding",
        ),
        (("No header", STATUS_PART), "part-header"),
    ],
)
def test_which_parts_they_have(parts: tuple[str, ...], why: str) -> None:
    assert reason(report(parts)) == why


@pytest.mark.parametrize(
    "parameter",
    [
        "filename (x) =a.exe",
        "filename(a(b)c)=a.exe",
        "filename= (x)a.exe",
        "filename\r\n\t=a.exe",
        "filename*0 (x)=a; filename*1=.exe",
        "x=y;filename (x) =a.exe",
    ],
)
def test_no_comment_hides_a_name(parameter: str) -> None:
    named = part("text/rfc822-headers", "A: b\r\n", f"Content-Disposition: attachment; {parameter}")
    assert reason(report((TEXT_PART, STATUS_PART, named))) == "report-text"


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        (report().partition(b"\r\n\r\n")[0] + b"\r\n\r\nHello\r\n", "multipart-truncated"),
        (report().removesuffix(f"--{BOUNDARY}--\r\n".encode()), "multipart-truncated"),
        (report(epilogue="Hello\r\n"), "epilogue"),
        (report(epilogue="\r\n \r\n"), "report"),
        (report(epilogue=f"--{BOUNDARY}--\r\n"), "boundary-line"),
        (report(preamble="x" * 600 + "\r\n"), "preamble"),
        (report(preamble="a\0b\r\n"), "preamble"),
        (report().replace(b"It did not", b"It did\rnot"), "line-end"),
        (report().replace(b"It did not", f"--{BOUNDARY}x\r\nIt did not".encode()), "boundary-line"),
        (
            report((part("text/plain", "x" * 30_000), STATUS_PART, HEADER_PART + "X: y\r\n" * 6000)),
            "report-size",
        ),
        (report(fields=[(f"X-{n}", "x" * 5000) for n in range(12)], preamble=" " * 6000), "report-size"),
        (report() + b"\r\n" * 33_000, "report-size"),
    ],
)
def test_the_frame(octets: bytes, why: str) -> None:
    assert reason(octets) == why


def test_64_kb_is_all_of_a_report_with_its_header() -> None:
    whole = report((part("text/plain", "x\r\n" * 10_000), STATUS_PART, HEADER_PART))
    room = 65_536 - len(whole)
    assert reason(whole + b"\r\n" * (room // 2)) == "report"
    assert reason(whole + b"\r\n" * (room // 2 + 2)) == "report-size"


@pytest.mark.parametrize(
    "status",
    [
        "",
        "Meet me at nine.\r\n",
        "Reporting-MTA: dns; b.example\r\n",
        STATUS.replace("Reporting-MTA: dns; mx.b.example", "X-Hello: Bob"),
        STATUS.replace("Reporting-MTA: dns; mx.b.example", "Reporting-MTA:"),
        STATUS.replace("\r\n\r\n", "\r\n"),
        STATUS.replace("Action: failed\r\n", ""),
        STATUS.replace("Status: 5.1.1\r\n", ""),
        STATUS.replace("failed", "Meet me at nine"),
        STATUS.replace("5.1.1", "Meet me at nine"),
        STATUS.replace("5.1.1", "6.1.1"),
        STATUS + "\r\nMeet me at nine.\r\n",
        STATUS + "\r\nFinal-Recipient: rfc822; y@b.example\r\n",
        STATUS + "Meet me: at nine\r\n",
        STATUS + f"X-Letter: {'x' * 4097}\r\n",
        STATUS + "X-Letter: x\r\n" * 40,
        " " + STATUS,
        "\r\n".join(["Reporting-MTA: dns; b.example", "", " folded", ""]) + STATUS,
    ],
)
def test_a_delivery_status_is_fields_and_nothing_else(status: str) -> None:
    assert reason(with_status(status)) == "report-status"


@pytest.mark.parametrize(
    "status",
    [
        STATUS,
        STATUS.lower(),
        STATUS.upper(),
        "\r\n" + STATUS + "\r\n\r\n",
        STATUS.replace("\r\n\r\n", "\r\n \r\n\r\n"),
        STATUS.replace("failed", "delayed (will be tried again)") + "Will-Retry-Until: Sun\r\n",
        STATUS + "\r\nFinal-Recipient: rfc822;y@b.example\r\nAction: relayed\r\nStatus: 2.0.0\r\n",
        STATUS + "Diagnostic-Code: smtp; 550-a\r\n 550-b\r\n\t550 c\r\n",
    ],
)
def test_as_the_delivery_status_may_be_written(status: str) -> None:
    assert reason(with_status(status)) == "report"


SECURE_JOIN = messages.secure_join().decode()


@pytest.mark.parametrize(
    ("typed", "quoted", "why"),
    [
        ("message/rfc822", ENCRYPTED, "report"),
        ("message/global", ENCRYPTED, "report"),
        ("message/rfc822", SECURE_JOIN, "report"),
        ("message/rfc822", "From: <alice@a.example>\r\n\r\n\r\n", "report"),
        ("message/rfc822", "From: <alice@a.example>", "report"),
        ("message/rfc822", messages.text().decode(), "report-quoted"),
        ("message/rfc822", messages.text("<p>Buy", "text/html").decode(), "report-quoted"),
        ("message/rfc822", ENCRYPTED[:-80], "report-quoted"),
        (
            "message/rfc822",
            report(author="postmaster@b.example").decode(),
            "report-quoted",
        ),
        ("message/rfc822", messages.setup_message().decode(), "report-quoted"),
        ("message/rfc822", "Meet me at nine.\r\n", "report-quoted"),
        (
            "text/rfc822-headers",
            "From: <alice@a.example>\r\nTo: <x@b.example>,\r\n\t<y@b.example>\r\n",
            "report",
        ),
        ("message/rfc822-headers", "From: <alice@a.example>\r\n", "report"),
        ("message/global-headers", "From: <alice@a.example>\r\n\r\n", "report"),
        ("text/rfc822-headers", "From: <alice@a.example>\r\n\r\nMeet me at nine.\r\n", "report-quoted"),
        ("text/rfc822-headers", "Meet me at nine.\r\n", "report-quoted"),
        ("text/rfc822-headers", "Subject: a\r\nSubject: b\r\n", "header-twice"),
        ("text/rfc822-headers", f"Subject: {'x' * 2100}\r\n", "header-field"),
    ],
)
def test_what_a_report_is_about(typed: str, quoted: str, why: str) -> None:
    assert reason(with_quoted(typed, quoted.replace(BOUNDARY, "other"))) == why


def test_how_the_octets_come_does_not_matter() -> None:
    for octets in reports.REAL.values():
        head, _, body = octets.partition(b"\r\n\r\n")
        lines = head.replace(b"\r\n ", b" ").replace(b"\r\n\t", b" ").split(b"\r\n")
        fields = [(name, value) for name, _, value in (line.partition(b": ") for line in lines)]
        gate = Gate(Direction.IN, Envelope("", (ALICE,)), fields)
        for octet in body:
            gate.feed(bytes((octet,)))
        assert gate.finish().reason == "report"
