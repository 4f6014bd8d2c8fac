"""Parses a line of the journal as a step of a message.

Knows the lines of Postfix's smtpd(8), cleanup(8), qmgr(8), bounce(8) and delivery agents, of OpenDKIM, and of
our programs. Any other line with a queue ID is a note. Keeps a user's login, but no IP address. Pure: reads
no journal.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

# Short and long ones (postconf(5), enable_long_queue_ids).
QUEUE_ID = r"[0-9A-Za-z]{5,30}"
_OF_POSTFIX = re.compile(rf"({QUEUE_ID}): (.*)", re.DOTALL)
_OF_OURS = re.compile(rf".*\bqueue=({QUEUE_ID})\b", re.DOTALL)
_FIELD = re.compile(r'(?<!\S)([a-z]+)=("[^"]*"|\S+)')

# How a message comes in, by the program that says `client=`. A door for users tells no address.
USERS = "postfix/submission/smtpd"
REINJECT = "postfix/reinject/smtpd"
DOORS: Mapping[str, str] = MappingProxyType(
    {
        "postfix/smtpd": "SMTP on port 25",
        "postfix/mxdeliv/smtpd": "HTTPS (/mxdeliv)",
        "postfix/mixed/smtpd": "HTTPS (/mxdeliv), with recipients that exist and some that do not",
        USERS: "submission, ports 465 and 587",
        REINJECT: "back from mxdeliv-relay, to go on by SMTP",
        "postfix/pickup": "a program on this host",
    }
)
# How it leaves, by the delivery agent.
MAILBOX, RELAY, SMTP = "postfix/lmtp", "postfix/mxdeliv/lmtp", "postfix/smtp-mx/smtp"


@dataclass(frozen=True, slots=True)
class TracedLine:
    """A line of the journal. `program`: its syslog identifier."""

    at: datetime
    program: str
    text: str


@dataclass(frozen=True, slots=True)
class TracedStep:
    """One step. `queue_id`: empty if Postfix refused before it assigned one.

    `kind`: door, message-id, verdict, signature, queue, road, delivery, refused, expired, bounce, left, note.
    `status` is Postfix's of a delivery (sent, deferred, bounced), the action of a verdict, or the road.
    `leads_to`: the queue ID under which the message, or the bounce about it, goes on; of a delivery what the
    answer says, which is a peer's where the message left this host.
    """

    at: datetime
    program: str
    queue_id: str
    kind: str
    text: str
    message_id: str = ""
    sender: str | None = None
    recipients: tuple[str, ...] = ()
    status: str = ""
    reason: str = ""
    leads_to: str = ""


_Found = dict[str, object]
_CLIENT = re.compile(r"client=([^,]+)(?:, sasl_method=[^,]+, sasl_username=(\S+))?")
_MESSAGE_ID = re.compile(r"(?:resent-)?message-id=<?([^>]*)>?")
_QUEUED = re.compile(r"from=<([^>]*)>, size=(\d+), nrcpt=(\d+) \(queue active\)")
_DELIVERY = re.compile(
    r"to=<(?P<to>[^>]*)>, (?:orig_to=<[^>]*>, )?relay=(?P<relay>.*?), (?:conn_use=\d+, )?"
    r"delay=(?P<delay>[^,]+), (?:delays=[^,]+, )?dsn=[\d.]+, status=(?P<status>\w+)(?: \((?P<said>.*)\))?",
    re.DOTALL,
)
_QUEUED_AS = re.compile(rf"queued as ({QUEUE_ID})\b")
_REFUSED = re.compile(
    r"(?:milter-)?reject: (?P<stage>\S+) from (?P<client>\S+): (?P<said>.*?); from=<(?P<from>[^>]*)>"
    r"(?: to=<(?P<to>[^>]*)>)?",
    re.DOTALL,
)
_PICKUP = re.compile(r"uid=(\d+) from=<([^>]*)>")
_EXPIRED = re.compile(r"from=<[^>]*>, status=(?:force-)?expired, returned to sender")
_BOUNCE = re.compile(rf"sender (?:non-delivery|delay|delivery status) notification: ({QUEUE_ID})")


def step(entry: TracedLine) -> TracedStep | None:
    """The step in a line; None if the line is not about a message."""
    if entry.program.startswith("postfix/") or entry.program == "opendkim":
        found = _OF_POSTFIX.match(entry.text)
        if found is None:
            return None
        queue_id, text = "" if found[1] == "NOQUEUE" else found[1], found[2]
        fields = _signature(text) if entry.program == "opendkim" else _postfix(entry.program, text)
        return None if not queue_id and fields["kind"] != "refused" else _made(entry, queue_id, fields)
    found = _OF_OURS.match(entry.text)
    if found is None:
        return None
    return _made(entry, found[1], _ours(entry.program, entry.text))


def _made(entry: TracedLine, queue_id: str, fields: _Found) -> TracedStep:
    return TracedStep(entry.at, entry.program, queue_id, **fields)  # type: ignore[arg-type]


def _postfix(program: str, text: str) -> _Found:
    for pattern, read in _OF_POSTFIX_TEXTS:
        found = pattern.match(text)
        if found is not None:
            return read(program, found)
    if text == "removed":
        return {"kind": "left", "text": "Postfix removed it from the queue"}
    return {"kind": "note", "text": text}


def _door(program: str, found: re.Match[str]) -> _Found:
    by = DOORS.get(program, program)
    if program == REINJECT:
        who = ""
    elif program == USERS:
        who = f", login {found[2]}" if found[2] else ""
    else:
        who = f", from {found[1]}"
    return {"kind": "door", "text": f"came in by {by}{who}"}


def _pickup(program: str, found: re.Match[str]) -> _Found:
    return {
        "kind": "door",
        "text": f"came in by {DOORS['postfix/pickup']}, user ID {found[1]}",
        "sender": found[2],
    }


def _message_id(_program: str, found: re.Match[str]) -> _Found:
    return {"kind": "message-id", "text": f"Message-ID {found[1]}", "message_id": found[1]}


def _queued(_program: str, found: re.Match[str]) -> _Found:
    return {
        "kind": "queue",
        "text": f"in the queue: {found[2]} octets, recipients: {found[3]}",
        "sender": found[1],
    }


def _delivery(program: str, found: re.Match[str]) -> _Found:
    said = found["said"] or ""
    onward = _QUEUED_AS.search(said)
    return {
        "kind": "delivery",
        "text": f"{_AGENTS.get(program, found['relay'])}: {found['status']} after {found['delay']} s: {said}",
        "recipients": (found["to"],),
        "status": found["status"],
        "reason": said,
        "leads_to": onward[1] if onward and found["status"] == "sent" else "",
    }


def _refused(program: str, found: re.Match[str]) -> _Found:
    # Of mail with a queue ID cleanup(8) says so, and the door has been told.
    by = f", {DOORS[program]}" if program in DOORS else ""
    client = "" if program.startswith("postfix/submission/") else f", from {found['client']}"
    return {
        "kind": "refused",
        "text": f"refused at {found['stage']}{by}{client}: {found['said']}",
        "sender": found["from"],
        "recipients": (found["to"],) if found["to"] else (),
        "status": "refused",
        "reason": found["said"],
    }


def _expired(_program: str, _found: re.Match[str]) -> _Found:
    return {
        "kind": "expired",
        "text": "it waited as long as the queue keeps mail, and goes back to its sender",
    }


def _bounce(_program: str, found: re.Match[str]) -> _Found:
    return {"kind": "bounce", "text": f"a bounce was made: {found[1]}", "leads_to": found[1]}


_OF_POSTFIX_TEXTS: tuple[tuple[re.Pattern[str], Callable[[str, re.Match[str]], _Found]], ...] = (
    (_CLIENT, _door),
    (_PICKUP, _pickup),
    (_MESSAGE_ID, _message_id),
    (_QUEUED, _queued),
    (_DELIVERY, _delivery),
    (_REFUSED, _refused),
    (_EXPIRED, _expired),
    (_BOUNCE, _bounce),
)
_AGENTS: Mapping[str, str] = MappingProxyType(
    {MAILBOX: "Dovecot, into the mailbox", RELAY: "mxdeliv-relay", SMTP: "SMTP"}
)


def _signature(text: str) -> _Found:
    return {"kind": "signature", "text": f"OpenDKIM: {text}"}


def _ours(program: str, text: str) -> _Found:
    fields = {name: value.strip('"') for name, value in _FIELD.findall(text)}
    if program == "chatmail-milter":
        return {
            "kind": "verdict",
            "text": f"chatmail-milter: {fields.get('verdict', '?')}, {fields.get('reason', '?')}",
            "status": fields.get("verdict", ""),
            "reason": fields.get("reason", ""),
        }
    event = fields.get("event", "")
    if event == "delivery":
        accepted, of, seconds = (fields.get(name, "?") for name in ("accepted", "of", "seconds"))
        done = f"accepted: {accepted} of {of}, {seconds} s"
        words = f"{_ROADS.get(fields.get('road', ''), '?')} ({fields.get('reason', '?')}); {done}"
        return {
            "kind": "road",
            "text": f"mxdeliv-relay, {fields.get('domain', '?')}: {words}",
            "status": fields.get("road", ""),
            "reason": fields.get("reason", ""),
        }
    if event == "handed-back" and program == "mxdeliv-relay":
        onward = fields.get("onward", "")
        return {
            "kind": "road",
            "text": f"mxdeliv-relay: handed back to Postfix, as {onward}",
            "status": "smtp",
            "leads_to": onward,
        }
    if event == "https-failed":
        why = fields.get("reason", "?")
        words = f"mxdeliv-relay, {fields.get('domain', '?')}: HTTPS failed: {why}"
        return {"kind": "road", "text": words, "status": "https", "reason": why}
    # Not the priority, which systemd notes, nor the queue ID again.
    rest = " ".join(word for word in text.split() if not word.startswith(("level=", "queue=")))
    return {"kind": "note", "text": f"{program}: {rest}"}


_ROADS: Mapping[str, str] = MappingProxyType(
    {"https": "by HTTPS", "smtp": "handed back, to go on by SMTP", "none": "by no road"}
)
