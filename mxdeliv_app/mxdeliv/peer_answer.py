"""What a peer's HTTP answer to `POST /mxdeliv` means: for the message, and for what is known of the host.

The mail domain itself is the last host that is tried, and often has a web server that knows nothing of mail.
So only an answer that no web server gives by itself counts, and a host has to prove itself before the first
message: `proof` judges its answer to a POST without recipients. Pure, like `wire`, which has the format.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

from chatmail_milter import codes
from mxdeliv_app.mxdeliv import wire
from mxdeliv_app.mxdeliv.wire import RecipientReply

# What chatmail servers say without an enhanced code, and the code that belongs to it: filtermail has none.
KNOWN_TEXTS: Mapping[str, str] = MappingProxyType(
    {
        codes.ENCRYPTION_NEEDED.text: "5.7.1",
        codes.NO_DKIM.text: "5.7.1",
        codes.INVALID_DKIM.text: "5.7.1",
        "Invalid FROM": "5.7.1",
        "Message exceeds maximum size": "5.3.4",
    }
)
# RFC 5321, 4.2.3, and 454, 455 of RFC 4954 and 5321: all other 4yz are some web server's own.
_TEMPORARY_CODES = frozenset({421, 450, 451, 452, 454, 455})

# HTTP statuses with which a receiver refuses a message (RFC 9110, 15.5; 507: RFC 4918, 11.5), without what
# web servers say of themselves: 404 and 405 (no such path or method), 401, 407, 408, 421, 429, and 5xx.
_REFUSING = frozenset({400, 403, 413, 422, 507})
_FINAL = frozenset({400, 403, 413, 422})
_LATER = _REFUSING | {429, 503}
_MAILBOX_FULL = (507, "5.2.2")  # the one final refusal that has a 5xx
# A peer in trouble, or one that has too much to do: RFC 9110, 15.5.9; RFC 8470, 5.2; RFC 6585, 4.
_BUSY = frozenset({408, 425, 429})

# To a POST without recipients every `/mxdeliv` says 400 (madmail 1 and 2, filtermail, ours); others will do.
# Left out of those that refuse is 403, which many a web server says to any POST.
_PROVING = _REFUSING - {403}

# RFC 3463, 3.2: of X.1.Z these are about the sender; the others, and X.2.Z (3.3), about a recipient.
_ABOUT_SENDER = ("1.7", "1.8")

_REPLY = re.compile(r"([45]\d\d)[ -](?:([45]\.\d{1,3}\.\d{1,3})(?: |\Z))?(.*)\Z")
# The whole body, one line. `250 items found` and `OK. Service is healthy` are web servers' words.
_DELIVERED = re.compile(rb"(?:OK|250 OK|250 2\.\d{1,3}\.\d{1,3}(?: [^\x00-\x1f\x7f]*)?)\r?\n?\Z")
_LONGEST_LINE = 2000  # octets of an answer in which its first line is looked for


class Meaning(Enum):
    """What an answer means for the message."""

    DELIVERED = "delivered"  # for all recipients
    PER_RECIPIENT = "per-recipient"  # each has its own reply
    FINAL = "final"  # refused for all; the sender gets a bounce
    TEMPORARY = "temporary"  # Postfix tries again later
    OF_ONE = "of-one"  # refused for all because of one recipient, whichever: each is to be asked about alone
    UNEXPLAINED = "unexplained"  # this message is refused, without an SMTP reply: SMTP is to give one
    TROUBLE = "trouble"  # the peer, or what stands before it, is not well: try SMTP
    NOT_CHATMAIL = "not-chatmail"  # no chatmail server says this: try SMTP


class Proof(Enum):
    """What the answer to a POST without recipients says of the host."""

    PROVEN = "proven"  # a chatmail server
    DISPROVEN = "disproven"  # a server that says yes to everything
    OPEN = "open"  # neither


@dataclass(frozen=True, slots=True)
class Understood:
    """An answer understood: one reply for every recipient that was asked for, where there is any."""

    meaning: Meaning
    replies: tuple[RecipientReply, ...] = ()


def understand(
    status: int, content_type: str, body: bytes, recipients: Sequence[str], *, complete: bool = True
) -> Understood:
    """What an answer to a POST for `recipients` (canonical) means.

    `body` may be cut at `wire.MAX_ANSWER_SIZE`: the reader must cut it there. `complete` is False where the
    connection ended before the body did. Never raises.
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
    # `429 Too Many Requests` is a web server that repeats its status, and so could be a 421 or a 451.
    if enhanced is None and (code not in _TEMPORARY_CODES or code == status):
        return Understood(_without_reply(status))
    if status in _LATER:
        return _refused(Meaning.TEMPORARY, recipients, code, enhanced or "4.0.0", text)
    return Understood(Meaning.NOT_CHATMAIL)


def proof(status: int, content_type: str, body: bytes) -> Proof:
    """What the answer to a POST without recipients says of the host that gave it. Never raises."""
    if 200 <= status < 300:
        return Proof.DISPROVEN
    if status in _PROVING:
        return Proof.PROVEN
    # A host that answers with an SMTP reply, and the status that belongs to it, speaks this protocol.
    told = understand(status, content_type, body, ()).meaning
    return Proof.PROVEN if told in (Meaning.FINAL, Meaning.TEMPORARY) else Proof.OPEN


def _success(
    status: int, content_type: str, body: bytes, recipients: Sequence[str], complete: bool
) -> Understood:
    if content_type.partition(";")[0].strip().lower() == "application/json":
        replies = wire.decode_json(body, recipients) if status in (200, 207) else ()
        # Ours says 207 where it took nothing and the refusals differ.
        if replies and (status == 200 or not any(reply.accepted for reply in replies)):
            return Understood(Meaning.PER_RECIPIENT, replies)
        return Understood(Meaning.NOT_CHATMAIL)
    # Of a body that was cut off, only a line that has its end is known to be that line.
    if status == 200 and _DELIVERED.match(body) and (complete or body.endswith(b"\n")):
        return _same(Meaning.DELIVERED, recipients, 250, "2.0.0", "OK")
    return Understood(Meaning.NOT_CHATMAIL)


def _without_reply(status: int) -> Meaning:
    """What `status` alone means."""
    if status in _REFUSING:
        return Meaning.UNEXPLAINED
    return Meaning.TROUBLE if status >= 500 or status in _BUSY else Meaning.NOT_CHATMAIL


def _first_line(body: bytes) -> str:
    return wire.one_line(re.split(rb"[\r\n]", body[:_LONGEST_LINE].lstrip(), maxsplit=1)[0])


def _refused(meaning: Meaning, recipients: Sequence[str], code: int, enhanced: str, text: str) -> Understood:
    """One reply line to a message for `recipients`.

    filtermail hands the whole message to its Postfix or none of it, and says what that said of one recipient.
    """
    if len(recipients) > 1 and _is_of_one(enhanced, text, recipients):
        return Understood(Meaning.OF_ONE)
    return _same(meaning, recipients, code, enhanced, text)


def _is_of_one(enhanced: str, text: str, recipients: Sequence[str]) -> bool:
    """Whether a refusal is about a recipient, by its status or its words."""
    _, _, about = enhanced.partition(".")
    if about.startswith(("1.", "2.")) and about not in _ABOUT_SENDER:
        return True
    words = text.lower()
    return any(one in words for one in recipients)


def _same(meaning: Meaning, recipients: Sequence[str], code: int, enhanced: str, text: str) -> Understood:
    return Understood(meaning, tuple(RecipientReply(one, code, enhanced, text) for one in recipients))
