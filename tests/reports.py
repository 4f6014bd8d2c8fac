"""Delivery reports as mail systems write them, made by hand after what is known of each (RFC 3464).

The words and names are made up; parts, field names, their order and their white space are the systems' own.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence

from tests import messages, packets
from tests.messages import BOUNDARY, Fields

STATUS = (
    "Reporting-MTA: dns; mx.b.example\r\n\r\n"
    "Final-Recipient: rfc822; x@b.example\r\nAction: failed\r\nStatus: 5.1.1\r\n"
)
TEXT_PART = "Content-Type: text/plain\r\n\r\nIt did not arrive.\r\n"
STATUS_PART = f"Content-Type: message/delivery-status\r\n\r\n{STATUS}"
HEADER_PART = "Content-Type: text/rfc822-headers\r\n\r\nSubject: [...]\r\nMessage-ID: <q@a.example>\r\n"
PARTS = (TEXT_PART, STATUS_PART, HEADER_PART)
HTML_PART = messages.part("text/html", "<p>Buy now</p>\r\n")
PROGRAM_PART = messages.part(
    "application/octet-stream; name=a.exe",
    base64.b64encode(b"MZ\x90\0" + packets.noise(300)).decode() + "\r\n",
    "Content-Transfer-Encoding: base64",
)


def report(
    parts: Sequence[str] = PARTS,
    author: str = "MAILER-DAEMON@b.example",
    marks: Sequence[str] = ("auto-replied",),
    *,
    fields: Fields = (),
    content_type: str = "multipart/report; report-type=delivery-status",
    preamble: str = "",
    epilogue: str = "",
) -> bytes:
    """A report to Bob; `marks` are the values of its Auto-Submitted fields."""
    header = [
        ("From", author),
        ("To", "bob@b.example"),
        ("Subject", "Undelivered"),
        ("Date", "Sat, 28 Nov 2026 20:00:00 +0000"),
        ("Message-ID", "<1e240@localhost>"),
        *(("Auto-Submitted", mark) for mark in marks),
        *fields,
        ("MIME-Version", "1.0"),
        ("Content-Type", f'{content_type}; boundary="{BOUNDARY}"'),
    ]
    body = "".join(f"--{BOUNDARY}\r\n{each}\r\n" for each in parts)
    return messages.message(header, f"{preamble}{body}--{BOUNDARY}--\r\n{epilogue}")


def with_status(status: str) -> bytes:
    """A report with this delivery status."""
    return report((TEXT_PART, f"Content-Type: message/delivery-status\r\n\r\n{status}", HEADER_PART))


def with_quoted(typed: str, quoted: str) -> bytes:
    """A report about this header or message."""
    return report((TEXT_PART, STATUS_PART, f"Content-Type: {typed}\r\n\r\n{quoted}"))


ENCRYPTED = messages.sealed(packets.pkesk() + packets.seipd()).decode().replace(BOUNDARY, "quoted")


def _postfix() -> bytes:
    notice = "Content-Description: Notification\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n"
    status = (
        "Reporting-MTA: dns; b.example\r\nX-Postfix-Queue-ID: 8CB3F24831\r\n"
        "X-Postfix-Sender: rfc822; alice@a.example\r\n"
        "Arrival-Date: Sat, 28 Nov 2026 20:00:00 +0000 (UTC)\r\n\r\n"
        "Final-Recipient: rfc822; x@b.example\r\nOriginal-Recipient: rfc822;x@b.example\r\nAction: failed\r\n"
        "Status: 5.1.1\r\nRemote-MTA: dns; c.example\r\n"
        "Diagnostic-Code: smtp; 550 5.1.1 <x@b.example>: Recipient\r\n    address rejected: no such user\r\n"
    )
    return report(
        (
            f"{notice}This is the mail system at host b.example.\r\n\r\n<x@b.example>: unknown\r\n",
            f"Content-Description: Delivery report\r\nContent-Type: message/delivery-status\r\n\r\n{status}",
            f"Content-Description: Undelivered Message\r\nContent-Type: message/rfc822\r\n\r\n{ENCRYPTED}",
        ),
        "MAILER-DAEMON@b.example (Mail Delivery System)",
        preamble="This is a MIME-encapsulated message.\r\n\r\n",
    )


def _sendmail() -> bytes:
    status = (
        "Reporting-MTA: dns; b.example\r\nReceived-From-MTA: DNS; a.example\r\n"
        "Arrival-Date: Sat, 28 Nov 2026 20:00:00 GMT\r\n\r\n"
        "Final-Recipient: RFC822; x@b.example\r\nAction: failed\r\nStatus: 5.1.1\r\n"
        "Last-Attempt-Date: Sat, 28 Nov 2026 20:00:01 GMT\r\n"
    )
    return report(
        (
            "\r\nThe original message was received at Sat, 28 Nov 2026\r\n",
            f"Content-Type: message/delivery-status\r\n\r\n{status}",
            "Content-Type: text/rfc822-headers\r\n\r\n"
            "Return-Path: <alice@a.example>\r\nFrom: <alice@a.example>\r\n",
        ),
        "Mail Delivery Subsystem <MAILER-DAEMON@b.example>",
        ("auto-generated (failure)",),
        preamble="This is a MIME-encapsulated message\r\n\r\n",
    )


def _exim() -> bytes:
    status = (
        "Reporting-MTA: dns; b.example\r\n\r\n"
        "Action: failed\r\nFinal-Recipient: rfc822;x@b.example\r\nStatus: 5.0.0\r\n"
    )
    header = "Return-path: <alice@a.example>\r\nReceived: from a.example by b.example\r\n\t(Exim 4.96)\r\n"
    return report(
        (
            "Content-type: text/plain; charset=us-ascii\r\n\r\nThis message was created automatically.\r\n",
            f"Content-type: message/delivery-status\r\n\r\n{status}",
            f"Content-type: message/rfc822\r\n\r\n{header}{ENCRYPTED}",
        ),
        "Mail Delivery System <Mailer-Daemon@b.example>",
        fields=[("X-Failed-Recipients", "x@b.example")],
    )


def _chasquid() -> bytes:
    described = "Content-Description: {}\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    recipient = (
        "Original-Recipient: utf-8; {0}@b.example\r\nFinal-Recipient: utf-8; {0}@b.example\r\n"
        "Action: failed\r\nStatus: 5.0.0\r\nDiagnostic-Code: smtp; 550 no such user\r\n"
    )
    status = (
        "Reporting-MTA: dns; b.example\r\n\r\n" + recipient.format("x") + recipient.format("ñ") + "\r\n\r\n"
    )
    return report(
        (
            'Content-Type: text/plain; charset="utf-8"\r\nContent-Disposition: inline\r\n'
            + described.format("Notification")
            + "Delivery of your message failed: ñ@b.example\r\n\r\n",
            "Content-Type: message/global-delivery-status\r\n" + described.format("Delivery Report") + status,
            "Content-Type: message/rfc822\r\n" + described.format("Undelivered Message") + ENCRYPTED,
        ),
        "Mail Delivery System <postmaster-dsn@b.example>",
        preamble="\r\n\r\n",
    )


def courier() -> bytes:
    status = (
        "Reporting-MTA: dns; b.example\r\nArrival-Date: Sat, 28 Nov 2026 20:00:00 +0000\r\n"
        "Received-From-MTA: dns; a.example (a.example [192.0.2.7])\r\n\r\n"
        "Final-Recipient: rfc822; x@b.example\r\nAction: failed\r\nStatus: 5.0.0\r\n"
        "Diagnostic-Code: smtp; 550 User unknown.\r\n"
    )
    return report(
        (
            "Content-Type: text/plain; charset=us-ascii\r\n"
            "Content-Transfer-Encoding: 7bit\r\n\r\nFailed.\r\n",
            f"Content-Type: message/delivery-status\r\nContent-Transfer-Encoding: 7bit\r\n\r\n{status}",
            "Content-Type: text/rfc822-headers; charset=us-ascii\r\nContent-Transfer-Encoding: 7bit\r\n\r\n"
            "From: <alice@a.example>\r\nTo: <x@b.example>\r\n",
        ),
        '"Courier mail server at b.example" <postmaster@b.example>',
        (),
        preamble="This is a MIME-formatted message.  Your software\r\ndoes not support it.\r\n",
    )


def _exchange() -> bytes:
    status = (
        "Reporting-MTA: dns;b.example\r\nReceived-From-MTA: dns;a.example\r\n"
        "Arrival-Date: Sat, 28 Nov 2026 20:00:00 +0000\r\n\r\n"
        "Original-Recipient: rfc822;x@b.example\r\nFinal-Recipient: rfc822;x@b.example\r\nAction: failed\r\n"
        "Status: 5.1.10\r\nDiagnostic-Code: smtp;550 5.1.10 RESOLVER.ADR.RecipientNotFound; not found\r\n"
        "X-Display-Name: x\r\n\r\n"
    )
    return report(
        (
            "Content-Type: text/plain; charset=utf-8\r\n"
            "Content-Transfer-Encoding: base64\r\n\r\nTm90IGZvdW5k\r\n",
            f"Content-Type: message/delivery-status\r\n\r\n{status}",
            "Content-Type: message/rfc822\r\n\r\nFrom: <alice@a.example>\r\nSubject: [...]\r\n",
        ),
        "Microsoft Outlook <MicrosoftExchange329e71ec88ae4615bbc36ab6ce41109e@b.example>",
        fields=[("X-MS-Exchange-Message-Is-Ndr", ""), ("Content-Language", "en-US")],
    )


def _maddy() -> bytes:
    status = (
        "Last-Attempt-Date: Sat, 28 Nov 2026 20:00:00 +0000\r\n"
        "Arrival-Date: Sat, 28 Nov 2026 20:00:00 +0000\r\nX-Maddy-MsgID: 0a1b2c3d\r\n"
        "X-Maddy-Sender: rfc822; alice@a.example\r\nReporting-MTA: dns; b.example\r\n\r\n"
        "Diagnostic-Code: smtp; 550 5.1.1 User does not exist\r\nStatus: 5.1.1\r\nAction: failed\r\n"
        "Final-Recipient: rfc822; x@b.example\r\n\r\n"
    )
    return report(
        (
            'Content-Description: Notification\r\nContent-Type: text/plain; charset="utf-8"\r\n'
            "Content-Transfer-Encoding: 8bit\r\n\r\n\r\nIt was not delivered.\r\n",
            f"Content-Description: Delivery report\r\nContent-Type: message/delivery-status\r\n\r\n{status}",
            "Content-Transfer-Encoding: 8bit\r\nContent-Type: message/rfc822-headers\r\n"
            "Content-Description: Undelivered message header\r\n\r\nFrom: <alice@a.example>\r\n\r\n",
        ),
        "MAILER-DAEMON@b.example",
        fields=[("Content-Transfer-Encoding", "8bit")],
    )


def _mox() -> bytes:
    typed = "Content-Transfer-Encoding: {}\r\nContent-Type: {}\r\n\r\n"
    status = (
        "Reporting-MTA: dns; b.example\r\nReceived-From-MTA: dns;a.example ([192.0.2.7])\r\n"
        "Arrival-Date: Sat, 28 Nov 2026 20:00:00 +0000\r\n\r\n"
        "Final-Recipient: rfc822;x@b.example\r\nAction: failed\r\nStatus: 5.1.1 (no such user)\r\n"
        "Remote-MTA: dns;c.example ([192.0.2.8])\r\nDiagnostic-Code: smtp; 550 5.1.1 no such user\r\n"
    )
    header = base64.encodebytes(b"From: <alice@a.example>\r\nSubject: [...]\r\n\r\n").decode()
    return report(
        (
            typed.format("7BIT", "text/plain") + "Delivery has failed.\r\n",
            typed.format("7BIT", "message/delivery-status") + status,
            typed.format("BASE64", "text/rfc822-headers; charset=utf-8") + header,
        ),
        "<postmaster@b.example>",
        (),
        content_type='multipart/report; report-type="delivery-status"',
    )


def _powermta() -> bytes:
    status = (
        "Reporting-MTA: dns;b.example\r\n\r\n"
        "Original-Recipient: rfc822;x@c.example\r\nFinal-Recipient: rfc822;x@c.example\r\nAction: failed\r\n"
        "Status: 5.1.2 (bad destination system: no such domain)\r\nX-PowerMTA-BounceCategory: bad-domain\r\n"
    )
    return with_status(status)


REAL = {
    "postfix": _postfix(),
    "sendmail": _sendmail(),
    "exim": _exim(),
    "chasquid": _chasquid(),
    "courier": courier(),
    "maddy": _maddy(),
    "mox": _mox(),
    "exchange": _exchange(),
    "powermta": _powermta(),
}
