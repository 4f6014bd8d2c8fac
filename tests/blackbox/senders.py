"""Peers as they are deployed: what each puts on the wire, and what it makes of an answer (wire.md, 1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

DONE, PLAIN_HTTP, SMTP = "delivered", "http://, then SMTP", "SMTP"


@dataclass(frozen=True)
class Sender:
    """One kind: the requests for a message, and what it does next after an HTTP status."""

    name: str
    requests: Callable[[str, Sequence[str], bytes], list[bytes]]
    after: Callable[[int], str]
    dot_stuffs: bool = False


def _request(lines: Sequence[str], body: bytes) -> bytes:
    # The field that nginx adds: it is nginx that the app hears.
    return "\r\n".join([*lines, "X-Real-IP: 203.0.113.7", "", ""]).encode("ascii") + body


def _madmail2(sender: str, recipients: Sequence[str], message: bytes) -> list[bytes]:
    """One POST for each recipient; names in lower case, as its HTTP library writes them."""
    return [
        _request(
            [
                "POST /mxdeliv HTTP/1.1",
                f"x-mail-from: {sender}",
                f"x-mail-to: {recipient}",
                "accept: */*",
                "host: a.example",
                f"content-length: {len(message)}",
            ],
            message,
        )
        for recipient in recipients
    ]


def _madmail1(sender: str, recipients: Sequence[str], message: bytes) -> list[bytes]:
    """One POST, chunked, the field for recipients repeated."""
    lines = [
        "POST /mxdeliv HTTP/1.1",
        "Host: a.example",
        "User-Agent: Go-http-client/1.1",
        "Transfer-Encoding: chunked",
        f"X-Mail-From: {sender}",
        *(f"X-Mail-To: {recipient}" for recipient in recipients),
        "Accept-Encoding: gzip",
    ]
    pieces = [message[at : at + 1000] for at in range(0, len(message), 1000)]
    return [_request(lines, b"".join(b"%x\r\n%s\r\n" % (len(one), one) for one in [*pieces, b""]))]


def _filtermail(sender: str, recipients: Sequence[str], message: bytes) -> list[bytes]:
    """One POST; the message as it came by DATA, the final dot taken off; no field for the null sender."""
    stuffed = (b"\r\n" + message).replace(b"\r\n.", b"\r\n..")[2:]
    lines = [
        "POST /mxdeliv HTTP/1.1",
        "Host: a.example",
        *([f"X-Mail-From: {sender}"] if sender else []),
        *(f"X-Mail-To: {recipient}" for recipient in recipients),
        f"Content-Length: {len(stuffed)}",
    ]
    return [_request(lines, stuffed)]


def _after_madmail2(status: int) -> str:
    return DONE if 200 <= status < 300 else SMTP if 400 <= status < 500 else PLAIN_HTTP


def _after_madmail1(status: int) -> str:
    return DONE if status == 200 else SMTP if 400 <= status < 500 else PLAIN_HTTP


def _after_filtermail(status: int) -> str:
    return DONE if 200 <= status < 300 else SMTP


SENDERS = (
    Sender("madmail v2", _madmail2, _after_madmail2),
    Sender("madmail v1", _madmail1, _after_madmail1),
    Sender("filtermail", _filtermail, _after_filtermail, dot_stuffs=True),
)
