"""`Verdict`, the immutable result of a rule, which the protocol layers turn into a reply.

A rule returns it, also to refuse; it never raises and does no I/O. The replies are in `codes.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from chatmail_milter.reply import Reply


class Action(Enum):
    """`PASS` accepts the message; `REJECT` replies 5yz (permanent), `TEMPFAIL` 4yz (the client retries)."""

    PASS = "pass"  # noqa: S105 (the word, not a secret)
    REJECT = "reject"
    TEMPFAIL = "tempfail"


@dataclass(frozen=True, slots=True)
class Verdict:
    """An SMTP reply and the reason for it.

    `code`: the reply code (RFC 5321, 4.2). `enhanced`: the enhanced status code (RFC 3463). `text`: the text
    after them. `reason`: a fixed slug (log field, metric label, name of a test); it holds nothing of the
    message.
    """

    action: Action
    code: int
    enhanced: str
    text: str
    reason: str

    @property
    def said(self) -> Reply:
        """The reply without the reason."""
        return Reply(self.code, self.enhanced, self.text)

    @property
    def reply(self) -> str:
        """The reply line, e.g. `523 5.7.1 Encryption Needed: …`."""
        return self.said.line

    def because(self, reason: str) -> Verdict:
        """The same reply with a more specific reason."""
        return Verdict(self.action, self.code, self.enhanced, self.text, reason)
