"""Interprets a peer's HTTP answer to `POST /mxdeliv`: for the message, and as proof of a relay.

The last host tried is the mail domain itself, where often an ordinary web server answers. So only answers
that a web server does not give by itself count. Before the first message, a host must prove to be a chatmail
server: `proof` interprets its answer to a POST without recipients. Pure, like `wire`, which has the format.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

from chatmail_milter import codes
from chatmail_milter.verdict import Reply
from mxdeliv_app.mxdeliv import wire
from mxdeliv_app.mxdeliv.wire import RecipientReply

# Texts that chatmail servers send without an enhanced status code (filtermail sends none), and the code to
# use.
KNOWN_TEXTS: Mapping[str, str] = MappingProxyType(
    {
        codes.ENCRYPTION_NEEDED.text: "5.7.1",
        codes.NO_DKIM.text: "5.7.1",
        codes.INVALID_DKIM.text: "5.7.1",
        "Invalid FROM": "5.7.1",
        "Message exceeds maximum size": "5.3.4",
    }
)
# The 4yz replies of RFC 5321, 4.2.3, and 454 (RFC 4954), 455: others are a web server's HTTP statuses.
_TEMPORARY_CODES = frozenset({421, 450, 451, 452, 454, 455})

# HTTP statuses with which a chatmail server refuses a message (RFC 9110, 15.5; 507: RFC 4918, 11.5). Not
# those of web servers in general: 404 and 405 (no such path or method), 401, 407, 408, 421, 429, other 5xx.
_REFUSING = frozenset({400, 403, 413, 422, 507})
_FINAL = frozenset({400, 403, 413, 422})
_LATER = _REFUSING | {429, 503}
_MAILBOX_FULL = (507, "5.2.2")  # the one final refusal that has a 5xx
# Statuses of an overloaded server: RFC 9110, 15.5.9; RFC 8470, 5.2; RFC 6585, 4.
_BUSY = frozenset({408, 425, 429})

# Answers to a POST without recipients that prove a chatmail server. madmail 1 and 2, filtermail and this
# relay send 400. Not 403, which many web servers send for any POST.
_PROVING = _REFUSING - {403}

# RFC 3463, 3.2: statuses X.1.Z that are about the sender. Other X.1.Z, and X.2.Z (3.3), are about a
# recipient.
_ABOUT_SENDER = ("1.7", "1.8")

_REPLY = re.compile(r"([45]\d\d)[ -](?:([45]\.\d{1,3}\.\d{1,3})(?: |\Z))?(.*)\Z")
# Matches the whole body, of one line, so that a web server's `250 items found` or `OK. Service is healthy`
# doesn't.
_DELIVERED = re.compile(rb"(?:OK|250 OK|250 2\.\d{1,3}\.\d{1,3}(?: [^\x00-\x1f\x7f]*)?)\r?\n?\Z")
_LONGEST_LINE = 2000  # octets of an answer in which its first line is looked for


class Meaning(Enum):
    """The result for the message."""

    DELIVERED = "delivered"  # for all recipients
    PER_RECIPIENT = "per-recipient"  # each has its own reply
    FINAL = "final"  # refused for all; the sender gets a bounce
    TEMPORARY = "temporary"  # Postfix tries again later
    OF_ONE = "of-one"  # refused for all because of one unnamed recipient: send a POST for each
    UNEXPLAINED = "unexplained"  # refused without an SMTP reply: try SMTP, to get one
    TROUBLE = "trouble"  # the peer or its reverse proxy fails: try SMTP
    NOT_CHATMAIL = "not-chatmail"  # not an answer of a chatmail server: try SMTP


class Proof(Enum):
    """The result of a POST without recipients."""

    PROVEN = "proven"  # a chatmail server
    DISPROVEN = "disproven"  # not one: a server that accepts everything
    OPEN = "open"  # undecided


@dataclass(frozen=True, slots=True)
class Understood:
    """An interpreted answer. `replies`: one for each recipient; empty if the answer contains none."""

    meaning: Meaning
    replies: tuple[RecipientReply, ...] = ()


def understand(
    status: int, content_type: str, body: bytes, recipients: Sequence[str], *, complete: bool = True
) -> Understood:
    """Interprets an answer to a POST for `recipients` (canonical). Never raises.

    `body`: truncated by the caller at `wire.MAX_ANSWER_SIZE`. `complete`: False if the connection ended
    before the body did.
    """
    if 200 <= status < 300:
        return _success(status, content_type, body, recipients, complete)
    reply = _REPLY.match(_first_line(body))
    if reply is None or (reply[2] is not None and reply[2][0] != reply[1][0]):
        return Understood(_without_reply(status))
    code, enhanced, text = int(reply[1]), reply[2], reply[3]
    if code >= 500:
        enhanced = enhanced or next((e for known, e in KNOWN_TEXTS.items() if text.startswith(known)), None)
        if enhanced is None:
            return Understood(_without_reply(status))
        if status in _FINAL or (status, enhanced) == _MAILBOX_FULL:
            return _refused(Meaning.FINAL, recipients, code, enhanced, text)
        return Understood(Meaning.NOT_CHATMAIL)
    # A web server may repeat its HTTP status in the body, as in `429 Too Many Requests`; also 421 and 451.
    if enhanced is None and (code not in _TEMPORARY_CODES or code == status):
        return Understood(_without_reply(status))
    if status in _LATER:
        return _refused(Meaning.TEMPORARY, recipients, code, enhanced or "4.0.0", text)
    return Understood(Meaning.NOT_CHATMAIL)


def proof(status: int, content_type: str, body: bytes) -> Proof:
    """Interprets the answer to a POST without recipients. Never raises."""
    if 200 <= status < 300:
        return Proof.DISPROVEN
    if status in _PROVING:
        return Proof.PROVEN
    # An SMTP reply with the matching HTTP status proves a chatmail server, too.
    told = understand(status, content_type, body, ()).meaning
    return Proof.PROVEN if told in (Meaning.FINAL, Meaning.TEMPORARY) else Proof.OPEN


def _success(
    status: int, content_type: str, body: bytes, recipients: Sequence[str], complete: bool
) -> Understood:
    if content_type.partition(";")[0].strip().lower() == "application/json":
        replies = wire.decode_json(body, recipients) if status in (200, 207) else ()
        # This relay sends 207 if all recipients are refused, with different replies.
        if replies and (status == 200 or not any(one.reply.accepted for one in replies)):
            return Understood(Meaning.PER_RECIPIENT, replies)
        return Understood(Meaning.NOT_CHATMAIL)
    # In a truncated body, the line is complete only with its line end.
    if status == 200 and _DELIVERED.match(body) and (complete or body.endswith(b"\n")):
        return _same(Meaning.DELIVERED, recipients, 250, "2.0.0", "OK")
    return Understood(Meaning.NOT_CHATMAIL)


def _without_reply(status: int) -> Meaning:
    """The result by the HTTP status alone."""
    if status in _REFUSING:
        return Meaning.UNEXPLAINED
    return Meaning.TROUBLE if status >= 500 or status in _BUSY else Meaning.NOT_CHATMAIL


def _first_line(body: bytes) -> str:
    return wire.one_line(re.split(rb"[\r\n]", body[:_LONGEST_LINE].lstrip(), maxsplit=1)[0])


def _refused(meaning: Meaning, recipients: Sequence[str], code: int, enhanced: str, text: str) -> Understood:
    """The result of a refusal with one reply line.

    filtermail refuses the message for all recipients if its Postfix refuses one, and returns that reply.
    """
    if len(recipients) > 1 and _is_of_one(enhanced, text, recipients):
        return Understood(Meaning.OF_ONE)
    return _same(meaning, recipients, code, enhanced, text)


def _is_of_one(enhanced: str, text: str, recipients: Sequence[str]) -> bool:
    """Whether a refusal is about a recipient, by its enhanced status code or its text."""
    _, _, about = enhanced.partition(".")
    if about.startswith(("1.", "2.")) and about not in _ABOUT_SENDER:
        return True
    words = text.lower()
    return any(one in words for one in recipients)


def _same(meaning: Meaning, recipients: Sequence[str], code: int, enhanced: str, text: str) -> Understood:
    reply = Reply(code, enhanced, text)
    return Understood(meaning, tuple(RecipientReply(one, reply) for one in recipients))
