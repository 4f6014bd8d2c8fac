"""The interface of an imitated sender: what it sends, its outcome for each recipient (docs/wire.md, 1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.blackbox.web.smtp_line import SmtpLine

DONE, PLAIN_HTTP, SMTP = "delivered", "http://, then SMTP", "SMTP"

Connect = Callable[[], SmtpLine]
Post = Callable[[bytes], int]


@dataclass(frozen=True)
class PeerProgram:
    """One program.

    `requests`: the POSTs for a message, one each for `recipients_of`. `after`: what it does next after an
    HTTP status. `by_smtp`: what it reports of each recipient, `DONE` or the reply that it heard.
    """

    name: str
    requests: Callable[[str, Sequence[str], bytes], list[bytes]]
    after: Callable[[int], str]
    by_smtp: Callable[[Connect, str, Sequence[str], bytes], dict[str, str]]
    one_each: bool = False
    dot_stuffs: bool = False

    def recipients_of(self, recipients: Sequence[str]) -> list[list[str]]:
        """The recipients of each request."""
        return [[one] for one in recipients] if self.one_each else [list(recipients)]

    def deliver(
        self, post: Post, connect: Connect, sender: str, recipients: Sequence[str], message: bytes
    ) -> dict[str, str]:
        """What it reports of each recipient when it has tried all that it tries; `post` sends a request."""
        reported: dict[str, str] = {}
        requests = self.requests(sender, recipients, message)
        for some, request in zip(self.recipients_of(recipients), requests, strict=True):
            if self.after(post(request)) == DONE:
                reported |= dict.fromkeys(some, DONE)
            else:
                # http:// is answered 404 by a relay of ours, and what follows that is SMTP.
                reported |= self.by_smtp(connect, sender, some, message)
        return reported


def request(lines: Sequence[str], body: bytes) -> bytes:
    """A POST, with the field that nginx adds: it is nginx that the app hears."""
    return "\r\n".join([*lines, "X-Real-IP: 203.0.113.7", "", ""]).encode("ascii") + body


def begin_tls(line: SmtpLine, name: str) -> str:
    """Read the greeting, say EHLO, and STARTTLS and EHLO again where that is offered; the last reply."""
    line.read()
    offered = line.ask(f"EHLO {name}")
    if "STARTTLS" not in offered:
        return offered
    line.ask("STARTTLS")
    line.start_tls()
    return line.ask(f"EHLO {name}")
