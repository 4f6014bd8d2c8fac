"""The header of one message (RFC 5322, 3.6): checks its size limits and keeps the fields that the gate reads.

Header fields are cleartext, so their limits leave the room that real mail needs and little more. The limits
come from mail that passed Exchange Online twice, Gmail, mailing lists and spam filters (docs/header.md).
Fields are added one at a time; only those in `FIELDS` are kept, at most `FIELDS_KEPT` values of each.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from chatmail_milter.gate.fields import FIELD_MOST, FIELDS, FIELDS_KEPT


@dataclass(frozen=True, slots=True)
class FieldLimits:
    """Limits for the fields of one name.

    `most`: octets of a value. `once`: the field must not repeat. `names`: it holds display names, whose
    length is limited too. `apart`: the first such field does not count towards the total size of the header.
    """

    most: int
    once: bool = False
    names: bool = False
    apart: bool = False


# A thousand recipients take 70 kB. With milters, Postfix truncates a field at 60,000 octets, whatever
# header_size_limit says (102,400 by default).
_RECIPIENTS = FieldLimits(102_400, once=True, names=True, apart=True)
_AUTHOR = FieldLimits(FIELD_MOST, names=True)
# Fields that programs display. 250 Cyrillic letters in encoded words (RFC 2047) take 1.9 kB.
_SHOWN = FieldLimits(2048)
# Signatures and check results: DKIM, ARC; Exchange Online writes 8 kB into one field.
_OPAQUE = FieldLimits(16_384)
# All other fields: reports of spam filters, list addresses, `X-` fields.
_OTHER = FieldLimits(8192)

# `once` as in RFC 5322, 3.6.
_BOUNDS = {
    b"date": FieldLimits(256, once=True),
    b"from": FieldLimits(FIELD_MOST, once=True, names=True),
    b"sender": FieldLimits(FIELD_MOST, once=True, names=True),
    b"reply-to": FieldLimits(FIELD_MOST, once=True, names=True),
    b"to": _RECIPIENTS,
    b"cc": _RECIPIENTS,
    b"bcc": _RECIPIENTS,
    # A line has 998 octets (RFC 5322, 2.1.1).
    b"message-id": FieldLimits(998, once=True),
    b"in-reply-to": FieldLimits(FIELD_MOST, once=True),
    # Some threads have two hundred messages.
    b"references": FieldLimits(16_384, once=True, apart=True),
    b"subject": FieldLimits(2048, once=True),
    # Autocrypt 1.1 asks for at most 10 kB; keys for post-quantum algorithms are longer.
    b"autocrypt": FieldLimits(16_384, apart=True),
    b"resent-from": _AUTHOR,
    b"resent-sender": _AUTHOR,
    b"resent-to": FieldLimits(16_384, names=True),
    b"resent-cc": FieldLimits(16_384, names=True),
    **dict.fromkeys((b"comments", b"keywords", b"organization", b"thread-topic"), _SHOWN),
    **dict.fromkeys((b"content-description", b"content-disposition", b"list-id"), _SHOWN),
    **dict.fromkeys((b"user-agent", b"x-mailer", b"mime-version", b"x-priority"), _SHOWN),
    **dict.fromkeys((b"authentication-results", b"dkim-signature", b"x-google-dkim-signature"), _OPAQUE),
}
# Fields whose names begin with these have the limits of `_OPAQUE`.
_OPAQUE_BEGINNINGS = (b"arc-", b"x-ms-", b"x-microsoft-", b"x-forefront-", b"x-exchange-")

# RFC 5322, 2.2 allows any printable characters but the colon. Exchange's longest name has 62.
_NAME = re.compile(rb"[!-9;-~]{1,100}")
# Number of fields. Exchange twice, thirty hops and three ARC sets make a hundred and fifty.
_FIELDS_MOST = 400
# Octets of all fields without those that are `apart`.
_TOTAL_MOST = 65_536
# Octets of To, Cc and Bcc together.
_RECIPIENTS_MOST = 131_072
# Octets of one display name: fifty Thai letters in encoded words of the Q encoding (RFC 2047, 4.2). And of
# all display names of a field: Cyrillic names take more than two thirds of 60,000 octets.
_DISPLAY_NAME_MOST = 640
_DISPLAY_NAMES_MOST = 49_152

# What separates display names: commas, a group's colon and semicolon, and addresses in angle brackets, within
# the sizes of RFC 5321, 4.5.3.1. Anything else in angle brackets counts as part of a name.
_COMMAS = bytes.maketrans(b":;", b",,")
_IN_BRACKETS = re.compile(rb"[^\s<>@]{1,64}@[^\s<>@]{1,255}")
_ADDRESS = re.compile(rb"[^\s\"(),:;<>@\\]{1,64}@[^\s\"(),;<>@\\]{1,255}")


def canonical(name: bytes) -> bytes:
    """A field's name in lower case, without white space before the colon (RFC 5322, 4.5).

    Some programs accept fields with such white space, so the gate must see them as well.
    """
    return name.strip().lower()


class Header:
    """Collects the fields of a header, added in order.

    `refused`: reason slug of the first failed check, or empty. `octets`: size of the header with line ends.
    `fields`: the kept fields, (lower-case name, value); a value is truncated to slightly more than
    `FIELD_MOST` octets, so that its reader still sees that it is too long.
    """

    __slots__ = ("_apart", "_counts", "_number", "_recipients", "_total", "fields", "octets", "refused")

    def __init__(self, given: Iterable[tuple[bytes, bytes]] = ()) -> None:
        self.refused = ""
        self.octets = 0
        self.fields: list[tuple[bytes, bytes]] = []
        self._counts: dict[bytes, int] = {}
        self._apart: set[bytes] = set()
        self._number = 0
        self._total = 0
        self._recipients = 0
        for name, value in given:
            self.add(canonical(name), value)

    def add(self, name: bytes, value: bytes) -> None:
        """Adds the next field: `name` as `canonical` returns it, `value` still folded (RFC 5322, 2.2.3)."""
        size = len(name) + len(value)
        self.octets += size + 4
        before = 0
        if name in FIELDS:
            before = self._counts.get(name, 0)
            if before < FIELDS_KEPT:
                self._counts[name] = before + 1
                # Longer than any reader of a field accepts.
                self.fields.append((name, value[: FIELD_MOST + 16]))
        if not self.refused:
            self.refused = self._judged(name, value, size, before)

    def add_unseen(self, name: bytes, value: bytes) -> None:
        """Adds a field that the relay will remove: it counts only towards the number of fields."""
        self.octets += len(name) + len(value) + 4
        self._number += 1
        if self._number > _FIELDS_MOST and not self.refused:
            self.refused = "header-size"

    def values(self, name: bytes) -> Sequence[bytes]:
        """The values of a kept field, in order."""
        return [value for found, value in self.fields if found == name]

    def _judged(self, name: bytes, value: bytes, size: int, before: int) -> str:
        bounds = _BOUNDS.get(name)
        if bounds is None:
            if not _NAME.fullmatch(name):
                return "header-name"
            bounds = _OPAQUE if name.startswith(_OPAQUE_BEGINNINGS) else _OTHER
        self._number += 1
        if bounds is _RECIPIENTS:
            self._recipients += size
        elif bounds.apart and name not in self._apart:
            self._apart.add(name)
        else:
            self._total += size
        if bounds.once and before:
            return "header-twice"
        if len(value) > bounds.most:
            return "header-field"
        if self._number > _FIELDS_MOST or self._total > _TOTAL_MOST or self._recipients > _RECIPIENTS_MOST:
            return "header-size"
        if bounds.names and not _names_fit(value):
            return "header-display-name"
        return ""


def _names_fit(value: bytes) -> bool:
    """Whether the display names of an address field (RFC 5322, 3.4) are short enough for names."""
    if len(value) <= _DISPLAY_NAME_MOST:
        return True
    pieces: list[bytes] = []
    for piece in value.split(b"<"):
        inside, bracket, after = piece.partition(b">")
        pieces.append(after if bracket and _IN_BRACKETS.fullmatch(inside) else piece)
    if _are_short(pieces):
        return True
    apart = [name.strip() for piece in pieces for name in piece.translate(_COMMAS).split(b",")]
    return _are_short([name for name in apart if not _ADDRESS.fullmatch(name)])


def _are_short(names: Sequence[bytes]) -> bool:
    lengths = [*map(len, names)]
    return max(lengths, default=0) <= _DISPLAY_NAME_MOST and sum(lengths) <= _DISPLAY_NAMES_MOST
