"""Parses log lines about incoming mail, from users (which are only counted) and from peers. Pure.

Mail from peers is counted from these lines, for port 25 and `/mxdeliv` alike:

- The milter's verdict on each message. If the message passed, the author's domain is proved (DKIM), and
  `seconds` is the time from MAIL to the verdict.
- Postfix's refusals before the message: unknown users, full mailboxes, senders of this relay. Each such
  recipient counts as an attempt.
- Messages that the app could not give to Postfix: cut off, too large, or Postfix failed.

The domain of a refused message is not proved, so a refusal is counted under its name only if the store knows
the domain. If the refusal is for that missing proof, the name is counted in any case: the operator should see
a peer with broken DKIM, or without signatures.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType

from chatmail_milter import address
from chatmail_milter.address import MalformedAddressError
from chatmail_milter.store import counters
from chatmail_milter.store.contacts import Contact, CountedEvent, Door

MILTER = "chatmail-milter"
APP = "gunicorn"
PUSH = "chatmail-push"
MXDELIV_SMTPD = "postfix/mxdeliv/smtpd"
SMTPD = ("postfix/smtpd", MXDELIV_SMTPD)

_VERDICT = re.compile(
    r"road=(?P<door>smtp|mxdeliv|mixed) verdict=(?P<verdict>\w+) reason=(?P<reason>[\w-]+) .*"
    r" domain=(?P<domain>\S+) seconds=(?P<seconds>[\d.]+)\Z"
)
_SUBMITTED = re.compile(r"road=submission verdict=(?P<verdict>\w+) reason=(?P<reason>[\w-]+) ")
# `milter-reject:` is the milter's verdict once more. The sender is a stranger's text: the last one counts.
_REJECT = re.compile(
    r"\w+: reject: (?:MAIL|RCPT|DATA|END-OF-MESSAGE) from \S+: (?P<code>[45]\d\d) (?P<status>[\d.]+) .*"
    r"; from=<(?:[^>]*@)?(?P<domain>[^>@]*)>"
)
# Reasons of the milter's: the domain did not sign, or could not be asked.
_WITHOUT_PROOF = ("dkim-", "origin-")
_JUDGED = re.compile(
    r"road=(?P<road>\w+) verdict=(?P<verdict>\w+) reason=(?P<reason>[\w-]+) queue=\S+ size=\d+"
    r" decided=(?P<seconds>[\d.]+)(?: |\Z)"
)
# The first `status=`: behind it are a peer's words.
_ANSWERED = re.compile(
    r"[^\"]*?\bevent=(?:received|failed|refused|unreportable) [^\"]*?\bstatus=(?P<status>\d{3})(?: |\Z)"
)
_NOTICE = re.compile(r"level=INFO event=notice outcome=(?P<outcome>\w+)(?: |\Z)")
_FAILED = re.compile(r".*\bevent=failed domain=(?P<domain>\S+) status=\d+ reason=(?P<reason>[\w-]+)\Z")

# RFC 3463 status codes that say something; other refusals are counted by reply code.
_REASONS: Mapping[str, str] = MappingProxyType(
    {
        "5.1.1": "unknown-user",
        "5.2.2": "mailbox-full",
        "4.2.2": "mailbox-full",
        "5.3.4": "too-large",
        "4.3.0": "temporary",
    }
)


def contact(identifier: str, message: str, at: datetime) -> Contact | None:
    """The attempt that a log line reports; None for other lines."""
    if identifier == MILTER:
        return _judged(message, at)
    if identifier == APP:
        found = _FAILED.match(message)
        return None if found is None else _refusal(found["domain"], found["reason"], at, "mxdeliv")
    found = _REJECT.match(message)
    if found is None:
        return None
    reason = _REASONS.get(found["status"], f"refused-{found['code']}")
    return _refusal(found["domain"], reason, at, "mxdeliv" if identifier == MXDELIV_SMTPD else "smtp")


def event(identifier: str, message: str) -> CountedEvent | None:
    """What else a log line reports for `store.counters`: a verdict, an answer, a push notification."""
    if identifier == MILTER:
        found = _JUDGED.match(message)
        if found is None or found["road"] not in counters.JUDGED:
            return None
        label = f"{found['verdict']} {found['reason']}"
        return CountedEvent(counters.JUDGED[found["road"]], label, float(found["seconds"]))
    if identifier == APP:
        found = _ANSWERED.match(message)
        return None if found is None else CountedEvent("mxdeliv", found["status"])
    if identifier == PUSH:
        found = _NOTICE.match(message)
        return None if found is None else CountedEvent("push", found["outcome"])
    return None


def _judged(message: str, at: datetime) -> Contact | None:
    """The attempt that a verdict line of the milter reports."""
    found = _VERDICT.match(message)
    if found is None:
        found = _SUBMITTED.match(message)
        if found is None:
            return None
        passed = found["verdict"] == "pass"
        return Contact("", "submission", passed, None, None if passed else found["reason"], at)
    door: Door = "smtp" if found["door"] == "smtp" else "mxdeliv"
    if found["verdict"] == "pass":
        return Contact(found["domain"], "inbound", True, float(found["seconds"]), None, at, door=door)
    named = found["reason"].startswith(_WITHOUT_PROOF)
    return _refusal(found["domain"], found["reason"], at, door, named=named)


def _refusal(claim: str, reason: str, at: datetime, door: Door, *, named: bool = False) -> Contact:
    try:
        domain = address.domain(claim)
    except MalformedAddressError:
        domain = ""  # the null sender's, or none
    return Contact(domain, "inbound", False, None, reason, at, claimed=True, named=named, door=door)
