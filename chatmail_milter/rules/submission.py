"""The rule for submitted mail, besides the gate: the author in From equals the envelope sender.

Postfix has checked that the envelope sender is the login.
"""

from __future__ import annotations

from collections.abc import Sequence

from chatmail_milter import codes
from chatmail_milter.address import MalformedAddressError
from chatmail_milter.gate import fields
from chatmail_milter.verdict import Verdict

# Octets of the sender's text that are quoted in a reply: the longest path (RFC 5321, 4.5.3.1.3).
_QUOTED_MOST = 256


def sender(from_values: Sequence[bytes], mail_from: str) -> Verdict:
    """The verdict on From alone: one author, equal to `mail_from` (canonical, empty for the null sender)."""
    try:
        author = fields.author(from_values)
    except MalformedAddressError:
        raw = b", ".join(from_values)
        return codes.invalid_from(quotable(fields.unfolded(raw)), quotable(mail_from))
    if author != mail_from:
        return codes.invalid_from(quotable(author), quotable(mail_from))
    return codes.PASS


def quotable(text: str) -> str:
    """`text` made safe for an SMTP reply line (RFC 5321, 4.2: printable US-ASCII), without angle brackets."""
    bare = text.strip("<> ")[:_QUOTED_MOST]
    return "".join(c if " " <= c <= "~" else "?" for c in bare)
