"""Imitates madmail 2.23 (Rust) as a sender, and madmail 1 (Go), its predecessor, which is still deployed.

Read in its sources (`chatmail-delivery`: `transport.rs`, `federation_smtp.rs`). Quirks:

- 2.23 sends each message once for each recipient, by HTTPS and by SMTP. It signs nothing.
- After 4xx it goes on to SMTP, after 5xx it tries http:// first. 1 takes nothing but 200 for a success.
- By SMTP 2.23 stuffs no dots, pipelines nothing, and takes any failure for a temporary one: it tries again
  until it gives up, and its user is never told.
"""

from __future__ import annotations

from collections.abc import Sequence

from tests.blackbox.web.peer_sender import DONE, PLAIN_HTTP, SMTP, Connect, PeerProgram, begin_tls, request


def _requests_2(sender: str, recipients: Sequence[str], message: bytes) -> list[bytes]:
    """One POST for each recipient; names in lower case, as its HTTP library writes them."""
    return [
        request(
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


def _after_2(status: int) -> str:
    return DONE if 200 <= status < 300 else SMTP if 400 <= status < 500 else PLAIN_HTTP


def _by_smtp(connect: Connect, sender: str, recipients: Sequence[str], message: bytes) -> dict[str, str]:
    return {one: _one_by_smtp(connect, sender, one, message) for one in recipients}


def _one_by_smtp(connect: Connect, sender: str, recipient: str, message: bytes) -> str:
    with connect() as line:
        begin_tls(line, "b.example")
        for command, expected in (
            (f"MAIL FROM:<{sender}>", "250"),
            (f"RCPT TO:<{recipient}>", "250"),
            ("DATA", "354"),
        ):
            reply = line.ask(command)
            if not reply.startswith(expected):
                return reply
        line.write(message if message.endswith(b"\r\n") else message + b"\r\n")
        reply = line.ask(".")
        return DONE if reply.startswith("250") else reply


def _requests_1(sender: str, recipients: Sequence[str], message: bytes) -> list[bytes]:
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
    return [request(lines, b"".join(b"%x\r\n%s\r\n" % (len(one), one) for one in [*pieces, b""]))]


def _after_1(status: int) -> str:
    return DONE if status == 200 else SMTP if 400 <= status < 500 else PLAIN_HTTP


MADMAIL_2 = PeerProgram("madmail 2.23", _requests_2, _after_2, _by_smtp, one_each=True)
# By SMTP its own way is not imitated: like any client it tells recipients apart, which one each does too.
MADMAIL_1 = PeerProgram("madmail 1", _requests_1, _after_1, _by_smtp)
