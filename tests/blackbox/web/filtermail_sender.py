"""Imitates filtermail 0.7.4, the classic chatmail relay's program, as a sender.

Read in its sources (`transport/worker.rs`, `smtp_client.rs`). Quirks:

- The message goes on as it came by DATA, still dot-stuffed, by HTTPS as well.
- One POST for all recipients of a domain; after any answer but 2xx it goes on to SMTP with the same host.
- It pipelines MAIL, RCPT and DATA. After a refusal in these it sends a lone dot where DATA was accepted
  (RFC 2920, 3.1), and if the reply to that is not positive it reports that reply, else the first refusal: for
  all recipients.
- It sends no SIZE.
"""

from __future__ import annotations

from collections.abc import Sequence

from tests.blackbox.web.peer_sender import DONE, SMTP, Connect, PeerProgram, begin_tls, request


def _requests(sender: str, recipients: Sequence[str], message: bytes) -> list[bytes]:
    body = _stuffed(message)
    lines = [
        "POST /mxdeliv HTTP/1.1",
        *([f"x-mail-from: {sender}"] if sender else []),
        *(f"x-mail-to: {recipient}" for recipient in recipients),
        "host: a.example",
        f"content-length: {len(body)}",
    ]
    return [request(lines, body)]


def _after(status: int) -> str:
    return DONE if 200 <= status < 300 else SMTP


def _by_smtp(connect: Connect, sender: str, recipients: Sequence[str], message: bytes) -> dict[str, str]:
    with connect() as line:
        pipelining = "PIPELINING" in begin_tls(line, "b.example")
        commands = [f"MAIL FROM:<{sender}>", *(f"RCPT TO:<{one}>" for one in recipients), "DATA"]
        if pipelining:
            for command in commands:  # each is flushed by itself, and no reply is waited for
                line.write(f"{command}\r\n".encode("ascii"))
            replies = [line.read() for _ in commands]
        else:
            replies = []
            for command in commands:
                replies.append(line.ask(command))
                if not _expected(replies[-1]):
                    return dict.fromkeys(recipients, replies[-1])
        refusal = next((reply for reply in replies if not _expected(reply)), None)
        if refusal is None:
            line.write(_stuffed(message) + b".\r\n")
            reply = line.read()
            return dict.fromkeys(recipients, DONE if reply.startswith("250") else reply)
        if replies[-1].startswith("354"):
            reply = line.ask(".")
            if not reply.startswith("250"):
                refusal = reply
        return dict.fromkeys(recipients, refusal)


def _expected(reply: str) -> bool:
    return reply.startswith(("250", "354"))


def _stuffed(message: bytes) -> bytes:
    return (b"\r\n" + message).replace(b"\r\n.", b"\r\n..")[2:]


FILTERMAIL = PeerProgram("filtermail 0.7.4", _requests, _after, _by_smtp, dot_stuffs=True)
