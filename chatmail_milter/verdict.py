"""`Verdict`, the immutable result of a rule, and `Reply`, an SMTP reply (RFC 5321, 4.2), ours or another's.

The rules make the verdicts: `rules.inbound` for peers' mail, `rules.submission` for users'. A rule returns a
verdict, also to refuse; it never raises and does no I/O. The protocol layers turn it into a reply. `codes.py`
has all replies.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, slots=True)
class Reply:
    """`code` (RFC 5321), `enhanced` (RFC 3463; empty where a server gave none), `text` in one line."""

    code: int
    enhanced: str
    text: str

    @property
    def line(self) -> str:
        """As it is said, e.g. `550 5.1.1 User unknown`."""
        return " ".join(filter(None, (str(self.code), self.enhanced, self.text)))

    @property
    def accepted(self) -> bool:
        """2yz."""
        return self.code // 100 == 2

    @property
    def positive(self) -> bool:
        """2yz, or 3yz (go on)."""
        return self.code < 400

    @property
    def temporary(self) -> bool:
        """4yz."""
        return self.code // 100 == 4

    @property
    def final(self) -> bool:
        """5yz."""
        return self.code // 100 == 5


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
