"""The imitations of deployed senders; the module of each lists its quirks."""

from __future__ import annotations

from tests.blackbox.web.filtermail_sender import FILTERMAIL
from tests.blackbox.web.madmail_sender import MADMAIL_1, MADMAIL_2
from tests.blackbox.web.peer_sender import DONE, PLAIN_HTTP, SMTP, PeerProgram

__all__ = ["DONE", "PLAIN_HTTP", "SENDERS", "SMTP", "PeerProgram"]

SENDERS = (MADMAIL_2, MADMAIL_1, FILTERMAIL)
