"""Removes header fields from submitted messages, before OpenDKIM signs them, except those in a list.

Header fields are cleartext, and those that no recipient needs reveal something about the sender. Each allowed
field has its reason beside it, and must have the form that programs write; in another form it could hold any
text, so it is removed too. docs/header.md has this table for operators.

An Autocrypt field (Autocrypt 1.1, 2.1) is cleartext of up to 16 kB, enough for a message, so its key data
must not be readable text. Key data is Base64 in long lines; text would have short words between blanks, or,
without blanks, more lower-case letters than a key. Whether the octets are a valid OpenPGP key is left to the
recipient's program.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from chatmail_milter.gate import fields
from chatmail_milter.gate.randomness import reads_as_words

# One to four attributes (programs write one or two), then the key.
_FORM = re.compile(
    rb"(?:[ \t\r\n]*(?:addr|prefer-encrypt|_[a-z-]{1,30})[ \t]*=[ \t]*[!-:<-~]{1,256}[ \t\r\n]*;){1,4}"
    rb"[ \t\r\n]*keydata[ \t]*=([A-Za-z0-9+/= \t\r\n]+);?[ \t\r\n]*"
)
# Least length of each line of key data but the first, which shares a line with the attributes, and the last.
# Programs write lines of 64 to 78 characters.
_LINE_LEAST = 32
# Octets that `reads_as_words` checks at a time.
_STRETCH = 510


def _is_autocrypt_key(value: bytes) -> bool:
    """Whether the value (still folded) has the form that programs write, and key data that is no text."""
    form = _FORM.fullmatch(value)
    if form is None:
        return False
    lines = form[1].split()
    if any(len(line) < _LINE_LEAST for line in lines[1:-1]):
        return False
    try:
        key = base64.b64decode(b"".join(lines), validate=True)
    except binascii.Error:
        return False
    return not any(reads_as_words(key[at : at + _STRETCH], 0) for at in range(0, len(key), _STRETCH))


# RFC 5322, 3.6.4: message identifiers, with folds between them.
_IDENTIFIERS = re.compile(rb"(?:[ \t\r\n]*<[!-;=?-~]{1,996}>)+[ \t\r\n]*")
_IDENTIFIER = re.compile(rb"[ \t\r\n]*<[!-;=?-~]{1,996}>[ \t]*")
# RFC 5322, 3.3, and the alphabetic zones of 4.3.
_DATE = re.compile(
    rb"[ \t\r\n]*(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),[ \t]*)?[0-9]{1,2}[ \t]+"
    rb"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[ \t]+[0-9]{2,4}[ \t]+"
    rb"[0-9]{1,2}:[0-9]{2}(?::[0-9]{2})?[ \t]+(?:[+-][0-9]{4}|[A-Z]{1,5})"
    rb"(?:[ \t]*\([A-Za-z0-9:+ -]{1,40}\))?[ \t]*"
)
# One word: a version, a keyword (RFC 3834, 5), an invitation number, an address.
_WORD = re.compile(rb"[ \t]*[!-~]{1,256}[ \t]*")
_HIDDEN_SUBJECT = "[...]"
# The gate recognises an Autocrypt Setup Message by this subject, and so do clients.
_SETUP_SUBJECT = "Autocrypt Setup Message"
_MIME_VERSION = "1.0"


@dataclass(frozen=True, slots=True)
class AllowedField:
    """Why a field is kept, and the form its value must have (None: any within the gate's limits).

    `first`: keep only the first such field. The gate refuses a second field of the other names.
    """

    reason: str
    form: Callable[[bytes], object] | None = None
    first: bool = False


# By name in lower case. docs/header.md repeats names and reasons (a test compares).
ALLOWED: Mapping[bytes, AllowedField] = MappingProxyType(
    {
        b"from": AllowedField("the author; peers check it by DKIM (RFC 5322, 3.6.2)"),
        b"to": AllowedField("recipients; Delta Chat lists none here (RFC 5322, 3.6.3)"),
        b"cc": AllowedField("recipients; a reply to all goes to them (RFC 5322, 3.6.3)"),
        b"reply-to": AllowedField("where replies of mail programs go (RFC 5322, 3.6.2)"),
        b"date": AllowedField("required (RFC 5322, 3.6.1)", _DATE.fullmatch),
        b"message-id": AllowedField(
            "identifies the message for apps and delivery reports (RFC 5322, 3.6.4)", _IDENTIFIER.fullmatch
        ),
        b"in-reply-to": AllowedField("threads of mail programs (RFC 5322, 3.6.4)", _IDENTIFIERS.fullmatch),
        b"references": AllowedField("threads of mail programs (RFC 5322, 3.6.4)", _IDENTIFIERS.fullmatch),
        b"subject": AllowedField("its value becomes `[...]`; some servers refuse mail without it"),
        b"mime-version": AllowedField(
            "required; `1.0` without the comment that names a program (RFC 2045, 4)", first=True
        ),
        b"content-type": AllowedField("the structure that the gate and every reader parse (RFC 2045, 5)"),
        b"content-transfer-encoding": AllowedField(
            "how to decode the body; the gate allows only 7bit, 8bit and binary"
        ),
        b"autocrypt": AllowedField(
            "the sender's key, sent by mail programs and older apps (Autocrypt 1.1)",
            _is_autocrypt_key,
            first=True,
        ),
        b"autocrypt-setup-message": AllowedField(
            "marks a setup message (Autocrypt 1.1, 4.4)", _WORD.fullmatch, first=True
        ),
        b"auto-submitted": AllowedField(
            "marks mail of bots and reports (RFC 3834, 5)", _WORD.fullmatch, first=True
        ),
        b"chat-version": AllowedField(
            "marks a chat message before it is decrypted", _WORD.fullmatch, first=True
        ),
        b"chat-is-post-message": AllowedField(
            "marks a large message that an earlier one announced; apps download it later",
            _WORD.fullmatch,
            first=True,
        ),
        b"chat-is-full-message": AllowedField(
            "the same, under the name in older apps", _WORD.fullmatch, first=True
        ),
        b"chat-disposition-notification-to": AllowedField(
            "asks for receipts, in older apps", _WORD.fullmatch, first=True
        ),
        b"secure-join": AllowedField(
            "the step of SecureJoin; cleartext in the first message", _WORD.fullmatch, first=True
        ),
        b"secure-join-invitenumber": AllowedField(
            "the invitation that it answers; cleartext in the first message", _WORD.fullmatch, first=True
        ),
    }
)


@dataclass(frozen=True, slots=True)
class HeaderChange:
    """Sets field `number` of this `name`, counted from 1, to `value`; None removes it, number 0 adds one.

    Apply changes in the order given: then none shifts the number of a later one.
    """

    name: str
    number: int
    value: str | None


class OutgoingHeader:
    """Call `stays` for every field, in order, then `changes` once."""

    def __init__(self) -> None:
        self._numbers: dict[bytes, int] = {}
        self._first: set[bytes] = set()
        self._gone: list[HeaderChange] = []
        self._subject: str | None = None
        self._version = _MIME_VERSION

    def stays(self, name: bytes, value: bytes) -> bool:
        """Whether the next field is kept; `name` in lower case."""
        number = self._numbers[name] = self._numbers.get(name, 0) + 1
        allowed = ALLOWED.get(name)
        stays = allowed is not None and (allowed.form is None or bool(allowed.form(value)))
        if stays and allowed is not None and allowed.first:
            stays = name not in self._first
            self._first.add(name)
        if stays:
            if name == b"subject" and number == 1:
                self._subject = fields.unfolded(value)
            elif name == b"mime-version":
                self._version = fields.unfolded(value)
            return True
        self._gone.append(HeaderChange(name.decode(), number, None))
        return False

    def changes(self, *, setup_message: bool) -> tuple[HeaderChange, ...]:
        """The changes to a message that passes. `setup_message`: keep the subject of a setup message."""
        changes = self._gone[::-1]
        if self._subject is None:
            changes.append(HeaderChange("Subject", 0, _HIDDEN_SUBJECT))
        elif self._subject != (_SETUP_SUBJECT if setup_message else _HIDDEN_SUBJECT):
            changes.append(HeaderChange("Subject", 1, _HIDDEN_SUBJECT))
        if self._version != _MIME_VERSION:
            changes.append(HeaderChange("MIME-Version", 1, _MIME_VERSION))
        return tuple(changes)
