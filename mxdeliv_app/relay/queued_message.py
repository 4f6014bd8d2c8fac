"""Values: a message in the relay, its sender and recipients."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from chatmail_milter import address
from chatmail_milter.address import MalformedAddressError
from mxdeliv_app.https.spooled import Octets

# In log lines about a message whose queue ID nobody told.
NO_QUEUE_ID = "-"


class Mode(Enum):
    """Which of the daemon's two listeners a message arrived on."""

    HTTPS_FIRST = "https-first"  # LMTP, from Postfix's default transport
    HTTPS_ONLY = "https-only"  # SMTP, as the fallback relay of smtp(8)


@dataclass(frozen=True, slots=True)
class Recipient:
    """A recipient: `raw` as Postfix wrote it, for SMTP; `canonical` for HTTPS.

    `canonical` is None if there is no such form (a quoted local part); that mail goes by SMTP.
    """

    raw: str
    domain: str
    canonical: str | None


def recipient(raw: str) -> Recipient:
    """Parses `raw`. Raises `MalformedAddressError` for an invalid domain, or a local part beyond ASCII.

    Such a local part needs SMTPUTF8 (RFC 6531, 3.1), which this Postfix does not use.
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
    """One transaction. `sender`: as Postfix wrote it, "" for the null sender. `content`: not dot-stuffed.

    `queue_id`: Postfix's; `-` if unknown, as for bounces and mail from smtp(8).
    """

    sender: str
    recipients: tuple[Recipient, ...]
    content: Octets
    smtputf8: bool = False
    queue_id: str = NO_QUEUE_ID

    @property
    def canonical_sender(self) -> str | None:
        """The canonical sender, for HTTPS; None if there is no such form."""
        if not self.sender:
            return ""
        try:
            return address.parse(self.sender)
        except MalformedAddressError:
            return None
