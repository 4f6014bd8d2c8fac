"""Parses log lines of Postfix's smtp(8), to count deliveries by SMTP; and says why the last one failed.

An attempt is one message with its recipients of one domain. smtp(8) logs a line for each recipient, and
earlier lines about errors of hosts. If smtp(8) then gives the mail to its fallback relay, which is this
program, it gives no reason, and only those earlier lines have one. It logs them only after our reply, so the
text that `SmtpWords` has for the reply is that of the attempt before. Does not read the journal itself.
"""

from __future__ import annotations

import logging
import re
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from chatmail_milter import address
from chatmail_milter.address import MalformedAddressError
from chatmail_milter.config.values import HostPort
from chatmail_milter.store.contacts import Contact
from chatmail_milter.store.peer_trouble import last_errors
from chatmail_milter.store.sanitize import anonymous

IDENTIFIER = "postfix/smtp-mx/smtp"  # syslog_name of the transport, and smtp(8)'s own

# delays=a/b/c/d: before the queue manager, in it, connecting, transmission. All recipients of a delivery have
# the same a and b, and the next delivery has another a; d differs, where some were refused.
_LINE = re.compile(
    r"(?P<queue_id>[0-9A-Za-z]+): to=<(?P<recipient>[^>]*@(?P<domain>[^>@]*))>,(?: orig_to=<[^>]*>,)?"
    r" relay=(?P<relay>\S+),(?: conn_use=\d+,)? delay=[^,/]+,"
    r" delays=(?P<waited>[^,/]+/[^,/]+)/(?P<connect>[\d.e+-]+)/(?P<send>[\d.e+-]+),"
    r" dsn=(?P<dsn>\d)\.\d+\.\d+, status=(?P<status>sent|deferred|bounced) (?P<text>.*)"
)
# Of a host, not of a recipient; warnings are about ourselves, and what header checks write is the message's.
_TROUBLE = re.compile(
    r"(?!warning: )(?:[0-9A-Za-z]+: )?(?P<text>connect to |host \S+ (?:said|refused)|lost connection with "
    r"|conversation with |(?:[Ss]erver )?certificate |Cannot start TLS|TLS is required|SSL_connect error "
    r"|Host or domain name not found)"
)
# The first that fits the text of a failure names it.
_REASONS = (
    ("tls", re.compile(r"TLS|certificate|SSL_connect", re.IGNORECASE)),
    ("timeout", re.compile(r"timed out")),
    ("dns", re.compile(r"Host or domain name not found|Name service error|no A or AAAA")),
    ("connect", re.compile(r"refused(?:\)|$)|unreachable|No route to host|\(?connect to ")),
    ("network", re.compile(r"lost connection")),
)
_SAID = re.compile(r" (?:said|refused to talk to me): (?P<class>[45])\d\d[ -]")
_REMEMBERED = 1000  # deliveries, and processes; the oldest are forgotten
_LINES_KEPT = 3
# Twice the longest that Postfix waits between two attempts (maximal_backoff_time).
_RECENT = timedelta(hours=1)

log = logging.getLogger(__name__)


class SmtpLog:
    """Takes the lines in order. Lines of one process belong together."""

    def __init__(self, https_only: HostPort) -> None:
        self._https_only = https_only.pair
        # By queue ID: the delivery that is counted, and as what: the reason of a failure, None a success.
        self._counted: OrderedDict[str, tuple[tuple[str, str], str | None]] = OrderedDict()
        self._trouble: OrderedDict[int, list[str]] = OrderedDict()

    def contact(self, pid: int, message: str, at: datetime) -> Contact | None:
        """The attempt that a line of process `pid` reports; None for other lines, and if already counted."""
        found = _LINE.match(message)
        if found is None:
            self._note(pid, message)
            return None
        trouble = self._trouble.pop(pid, [])
        try:
            domain = address.domain(found["domain"])
        except MalformedAddressError:
            return None
        if self._is_ours(found["relay"]):
            # smtp(8) only comes to us when SMTP by MX has failed.
            reason = next(filter(None, map(_reason, reversed(trouble))), "handed-back")
            words = "; ".join(trouble)
        elif found["status"] == "sent":
            reason, words = "", ""
        else:
            reason = _reason(found["text"]) or f"smtp-{found['dsn']}yz"
            words = found["text"].removeprefix("(").removesuffix(")")
        delivery = (domain, found["waited"])
        new, before = self._remember(found["queue_id"], delivery, reason or None)
        if not reason:
            # Where one recipient was refused and another accepted, the attempt was no failure.
            if new or before is not None:
                seconds = float(found["connect"]) + float(found["send"])
                return Contact(domain, "smtp", True, seconds, None, at, instead_of=before)
            return None
        if not new:
            return None
        words = anonymous(words, [found["recipient"]])
        return Contact(domain, "smtp", False, None, reason, at, words=words)

    def _remember(
        self, queue_id: str, delivery: tuple[str, str], reason: str | None
    ) -> tuple[bool, str | None]:
        """Whether the delivery is new; if not, the reason of the failure that was counted."""
        known = self._counted.pop(queue_id, None)
        new = known is None or known[0] != delivery
        before = None if known is None or new else known[1]
        self._counted[queue_id] = (delivery, reason if new or reason is None else before)
        if len(self._counted) > _REMEMBERED:
            self._counted.popitem(last=False)
        return new, before

    def _note(self, pid: int, message: str) -> None:
        found = _TROUBLE.match(message)
        if found is None:
            return
        lines = self._trouble.setdefault(pid, [])
        lines.append(message[found.start("text") :])
        del lines[:-_LINES_KEPT]
        if len(self._trouble) > _REMEMBERED:
            self._trouble.popitem(last=False)

    def _is_ours(self, relay: str) -> bool:
        host, port = self._https_only
        return relay.startswith(host) and relay.endswith(f":{port}")


def _reason(text: str) -> str:
    said = _SAID.search(text)
    if said is not None:
        return f"smtp-{said['class']}yz"
    return next((name for name, pattern in _REASONS if pattern.search(text)), "")


@dataclass(frozen=True, slots=True)
class SmtpWords:
    """Why SMTP failed for a domain at the last attempt, as the store has it. Thread-safe."""

    engine: Engine

    def of(self, domain: str) -> str:
        """The last text, without addresses; empty if there is none, or if the store fails."""
        now = datetime.now(UTC)
        try:
            known = last_errors(self.engine, domain, now)
        except SQLAlchemyError as error:
            log.error("event=smtp-words-unread error=%s", type(error).__name__)
            return ""
        recent = (one.words for one in known if one.road == "smtp" and now - one.at < _RECENT)
        return next(filter(None, recent), "")
