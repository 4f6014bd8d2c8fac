"""The answer of a rule: a frozen value that the socket layers turn into a protocol's reply.

A rule never raises to refuse and never talks to a socket; it returns one of these.
Replies themselves are in `codes.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Action(Enum):
    """What is done with the message: `PASS`, `REJECT` (5yz, final) or `TEMPFAIL` (4yz, try later)."""

    PASS = "pass"  # noqa: S105 (the word, not a secret)
    REJECT = "reject"
    TEMPFAIL = "tempfail"


@dataclass(frozen=True, slots=True)
class Verdict:
    """An SMTP answer and why it was given.

    `code` is the three-digit reply (RFC 5321, 4.2), `enhanced` the status code (RFC 3463), `text` the
    words after them. `reason` is a short fixed slug: the metric's label, the log's field, the test's name.
    It never holds anything from the message.
    """

    action: Action
    code: int
    enhanced: str
    text: str
    reason: str

    @property
    def reply(self) -> str:
        """The reply line, e.g. `523 5.7.1 Encryption Needed: …`."""
        return f"{self.code} {self.enhanced} {self.text}"

    def because(self, reason: str) -> Verdict:
        """The same answer under a more exact reason."""
        return Verdict(self.action, self.code, self.enhanced, self.text, reason)
