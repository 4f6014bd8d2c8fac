"""A message on its way through the relay, and whom it is for. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from chatmail_milter import address
from chatmail_milter.address import MalformedAddressError

# In log lines about a message whose queue ID nobody told.
NO_QUEUE_ID = "-"


class Mode(Enum):
    """Which of the daemon's two listeners a letter arrived on."""

    HTTPS_FIRST = "https-first"  # LMTP, from Postfix's default transport
    HTTPS_ONLY = "https-only"  # SMTP, as the fallback relay of smtp(8)


@dataclass(frozen=True, slots=True)
class Recipient:
    """A recipient as Postfix wrote it (`raw`, kept for SMTP), and in canonical form, which HTTPS speaks.

    `canonical` is None where it has none (a quoted local part): such mail goes by SMTP.
    """

    raw: str
    domain: str
    canonical: str | None


def recipient(raw: str) -> Recipient:
    """`raw` understood. Raises `MalformedAddressError` if it has no domain that mail could go to.

    Or if its local part isn't ASCII: that takes SMTPUTF8 (RFC 6531, 3.1), which Postfix does not use here.
    """
    try:
        canonical = address.parse(raw)
    except MalformedAddressError:
        local_part, _, domain = raw.rpartition("@")
        if not local_part or not local_part.isascii():
            raise
        return Recipient(raw, address.domain(domain), None)
    return Recipient(raw, address.domain_of(canonical), canonical)


@dataclass(frozen=True, slots=True)
class QueuedMessage:
    """One transaction. `sender` is as Postfix wrote it, "" the null sender; `content` is not dot-stuffed.

    `queue_id` is Postfix's, `-` where it told none: of a bounce, and of all that smtp(8) hands over.
    """

    sender: str
    recipients: tuple[Recipient, ...]
    content: bytes
    smtputf8: bool = False
    queue_id: str = NO_QUEUE_ID

    @property
    def canonical_sender(self) -> str | None:
        """The sender as HTTPS speaks it, or None where it has no such form."""
        if not self.sender:
            return ""
        try:
            return address.parse(self.sender)
        except MalformedAddressError:
            return None
