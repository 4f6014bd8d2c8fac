"""Delivery reports (RFC 3464, RFC 6522): recognises their authors and checks their contents.

They come in unencrypted, so that users learn why their mail failed. A report has a text, a delivery status
that can be parsed, and optionally the original: its header alone, or a message that itself passes the gate.
At most 64 kB with its header. Refused on purpose: read receipts (RFC 8098), reports with HTML (Gmail's, most
of Exchange's), and qmail's plain-text bounces.

A delivery status (RFC 3464, 2.1) has fields of the message, then a group for each recipient. Required are the
fields that readers of reports need, and nothing but fields. Tolerated is how mail systems deviate from the
RFC's grammar: two recipients in one group (chasquid), a comment after the status (PowerMTA), address types of
RFC 6533, `X-` fields of all kinds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from chatmail_milter.address import MalformedAddressError
from chatmail_milter.gate import fields
from chatmail_milter.gate.buffered_body import BufferedBody, Part, is_text, split
from chatmail_milter.gate.layers import RefusedError
from chatmail_milter.gate.mime_fields import ContentType
from chatmail_milter.gate.payload import IDENTITY

# Octets of a report with its header. Postfix returns at most 50 kB of the original (bounce_size_limit).
REPORT_MOST = 65536
# Octets of the text. Its content can't be checked, so it gets no more room than real reports use.
_TEXT_MOST = 32768
# Octets of the preamble: Sendmail, Postfix and Courier write one or two lines about MIME.
_PREAMBLE_MOST = 512

# Local parts in From. With Auto-Submitted: Postfix, Sendmail, Exim, OpenSMTPD, Haraka, maddy, Gmail;
# chasquid. With or without it: Courier, mox, Exchange, Dovecot; Exchange Online, the same for all customers.
_ALWAYS_MARKED = frozenset(("mailer-daemon", "postmaster-dsn"))
_PERHAPS_MARKED = frozenset(("postmaster", "microsoftexchange329e71ec88ae4615bbc36ab6ce41109e"))

# RFC 3834, 5: a keyword, then perhaps parameters and comments.
_AUTO_SUBMITTED = re.compile(r"([a-z0-9-]+)[ \t]*(?:[;(].*)?", re.DOTALL)
_AUTO_SUBMITTED_MOST = 998

# RFC 6522, 3, and for 8-bit addresses RFC 6533, which chasquid always uses. maddy and madmail write the wrong
# type message/rfc822-headers.
_STATUS_TYPES = frozenset(("message/delivery-status", "message/global-delivery-status"))
_HEADER_TYPES = frozenset(("text/rfc822-headers", "message/global-headers", "message/rfc822-headers"))
_MESSAGE_TYPES = frozenset(("message/rfc822", "message/global"))

Quoted = Callable[[bytes], None]


def claims(content_type: ContentType, sender: str, authors: Sequence[bytes], marks: Sequence[bytes]) -> bool:
    """Whether the header claims to be that of a delivery report from a mail system.

    `sender`: the envelope sender, empty for the null sender (RFC 3464, 2). `authors`: values of From.
    `marks`: values of Auto-Submitted, which Courier and mox don't write.
    """
    if content_type.type != "multipart/report":
        return False
    if content_type.parameters.get("report-type", "").lower() != "delivery-status":
        return False
    try:
        author = _local_part(fields.author(authors))
    except MalformedAddressError:
        return False
    if not marks and author in _PERHAPS_MARKED:
        return not sender
    if not _says_automatic(marks):
        return False
    # Some mail systems use their own address in place of the null sender.
    null_sender = not sender or _local_part(sender) == author == "mailer-daemon"
    return null_sender and (author in _ALWAYS_MARKED or author in _PERHAPS_MARKED)


def _local_part(address: str) -> str:
    return address.rpartition("@")[0].lower()


def _says_automatic(marks: Sequence[bytes]) -> bool:
    if len(marks) != 1 or len(marks[0]) > _AUTO_SUBMITTED_MOST:
        return False
    found = _AUTO_SUBMITTED.fullmatch(fields.unfolded(marks[0]).lower())
    return found is not None and found[1] != "no"


class DeliveryReport:
    """A sink for the body of a report. `header_octets`: size of the report's own header.

    `quoted_header` and `quoted_message` check the quoted original, as bytes with LF; they raise
    `RefusedError`.
    """

    def __init__(
        self, boundary: bytes, header_octets: int, quoted_header: Quoted, quoted_message: Quoted
    ) -> None:
        self._boundary = boundary
        self._held = BufferedBody(REPORT_MOST - header_octets, "report-size")
        self._quoted_header = quoted_header
        self._quoted_message = quoted_message

    def feed(self, data: bytes) -> None:
        self._held.feed(data)

    def finish(self) -> None:
        parts = split(self._held.octets(), self._boundary, _PREAMBLE_MOST)
        if len(parts) not in (2, 3):
            raise RefusedError("part-count")
        _check_text(parts[0])
        if parts[1].type not in _STATUS_TYPES:
            raise RefusedError("part-type")
        _check_status(_text_of(parts[1]))
        if len(parts) == 3:
            self._check_quoted(parts[2])

    def _check_quoted(self, part: Part) -> None:
        if part.type in _HEADER_TYPES:
            self._quoted_header(_text_of(part))
        elif part.type in _MESSAGE_TYPES:
            # RFC 2046, 5.2.1: message/rfc822 has no transfer encoding that changes it.
            if part.transfer_encoding not in IDENTITY:
                raise RefusedError("transfer-encoding")
            self._quoted_message(_text_of(part))
        else:
            raise RefusedError("part-type")


def _check_text(part: Part) -> None:
    if part.type != "text/plain":
        raise RefusedError("part-type")
    if part.is_a_file or len(_text_of(part)) > _TEXT_MOST:
        raise RefusedError("report-text")


def _text_of(part: Part) -> bytes:
    octets = part.decoded().replace(b"\r\n", b"\n")
    if part.has_a_harmful_name or not is_text(octets):
        raise RefusedError("report-text")
    return octets


# RFC 3464, 2.1: fields as in RFC 822. A value longer than any diagnostic text would be a message in clear.
_FIELD = re.compile(r"([a-z][a-z0-9-]{0,76})[ \t]*:[ \t]*(.*)", re.IGNORECASE | re.DOTALL)
_VALUE_MOST = 4096
_FIELDS_MOST = 32
# RFC 3464, 2.3.3 and 2.3.4; RFC 3463, 2 has the form of a status code.
_ACTIONS = frozenset(("failed", "delayed", "delivered", "relayed", "expanded"))
_STATUS = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}[ \t]*(?:\(.*\))?", re.DOTALL)
_ACTION = re.compile(r"([a-z]+)[ \t]*(?:\(.*\))?", re.DOTALL)

_Group = list[tuple[str, str]]


def _check_status(octets: bytes) -> None:
    """Raises `RefusedError` unless `octets` (lines end with LF) are a delivery status."""
    groups = _groups(octets.decode("latin-1"))
    if len(groups) < 2 or not any(name == "reporting-mta" and value for name, value in groups[0]):
        raise RefusedError("report-status")
    for group in groups[1:]:
        actions = [value.lower() for name, value in group if name == "action"]
        statuses = [value for name, value in group if name == "status"]
        known = all((found := _ACTION.fullmatch(value)) and found[1] in _ACTIONS for value in actions)
        if not actions or not statuses or not known or not all(map(_STATUS.fullmatch, statuses)):
            raise RefusedError("report-status")


def _groups(text: str) -> list[_Group]:
    """_Groups of (lower-case name, value) pairs. Raises `RefusedError`."""
    groups: list[_Group] = []
    raw: list[str] = []
    for line in (*text.split("\n"), ""):
        if not line.strip(" \t"):
            if raw:
                groups.append(_read(raw))
            raw = []
        elif line[0] in " \t":
            if not raw:
                raise RefusedError("report-status")
            raw[-1] += line
        else:
            raw.append(line)
    return groups


def _read(raw: list[str]) -> _Group:
    found = [_FIELD.fullmatch(field) for field in raw]
    if len(raw) > _FIELDS_MOST:
        raise RefusedError("report-status")
    group: _Group = []
    for matched in found:
        if matched is None or len(matched[2]) > _VALUE_MOST:
            raise RefusedError("report-status")
        group.append((matched[1].lower(), matched[2].strip(" \t")))
    return group
