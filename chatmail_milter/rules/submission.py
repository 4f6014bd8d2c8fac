"""What our own users may send: the author is who the envelope says, and who that is, Postfix has checked."""

from __future__ import annotations

from collections.abc import Sequence

from chatmail_milter import codes
from chatmail_milter.address import MalformedAddressError
from chatmail_milter.gate import fields
from chatmail_milter.gate.gate import Classification
from chatmail_milter.verdict import Action, Verdict

# Of a text of the sender's that goes into a reply: RFC 5321, 4.5.3.1.3 lets an address have 256 octets.
_QUOTED_MOST = 256


def judge(from_values: Sequence[bytes], mail_from: str, found: Classification) -> Verdict:
    """The verdict on a submitted message. Of two faults it is the author that is told, as peers do."""
    verdict = sender(from_values, mail_from)
    return found.verdict if verdict.action is Action.PASS else verdict


def sender(from_values: Sequence[bytes], mail_from: str) -> Verdict:
    """The From rule alone: one author, equal to `mail_from` (canonical, empty for the null sender)."""
    try:
        author = fields.author(from_values)
    except MalformedAddressError:
        raw = b", ".join(from_values)
        return codes.invalid_from(quotable(fields.unfolded(raw)), quotable(mail_from))
    if author != mail_from:
        return codes.invalid_from(quotable(author), quotable(mail_from))
    return codes.PASS


def quotable(text: str) -> str:
    """`text` as a reply line can repeat it (RFC 5321, 4.2: printable US-ASCII), without its own brackets."""
    bare = text.strip("<> ")[:_QUOTED_MOST]
    return "".join(c if " " <= c <= "~" else "?" for c in bare)
