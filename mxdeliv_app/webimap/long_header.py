"""The envelope of a message with a very long header, from the begin of the fields that are in it. Pure.

Dovecot's ENVELOPE is of the whole header: a hundred thousand addresses take seconds to read. A client is
shown a thousand of them, so the first octets of the fields are enough (RFC 3501, 7.4.2: the envelope).
"""

from __future__ import annotations

from datetime import datetime
from email.parser import BytesHeaderParser
from email.utils import getaddresses, parsedate_to_datetime

from imapclient.response_types import Address, Envelope

_ADDRESSES = ("from", "to", "cc")
FIELDS = "DATE SUBJECT FROM TO CC MESSAGE-ID IN-REPLY-TO"


def envelope(octets: bytes) -> Envelope:
    """`octets`: the fields `FIELDS` of a header, of which the last may be cut off. Never raises."""
    fields: dict[str, str] = {}
    for name, value in BytesHeaderParser().parsebytes(octets).raw_items():
        # RFC 5322, 2.2.3: unfolding.
        fields.setdefault(name.lower(), "".join(value.splitlines()).strip())
    last = next(reversed(fields), "")
    if last in _ADDRESSES and not octets.endswith(b"\r\n\r\n"):
        fields[last] = fields[last].rpartition(",")[0]
    people = {name: _addresses(fields.get(name, "")) for name in _ADDRESSES}
    return Envelope(
        _date(fields.get("date", "")), _octets(fields.get("subject", "")), people["from"], None, None,
        people["to"], people["cc"], None, _octets(fields.get("in-reply-to", "")),
        _octets(fields.get("message-id", "")),
    )  # fmt: skip


def _addresses(value: str) -> tuple[Address, ...]:
    try:
        people = getaddresses([value])
    except RecursionError:  # thousands of comments or groups, each in the one before
        return ()
    found = [(name, *address.rpartition("@")) for name, address in people if address]
    return tuple(
        Address(_octets(name), None, _octets(mailbox or host), _octets(host if mailbox else ""))
        for name, mailbox, _, host in found
    )


def _date(value: str) -> datetime | None:
    try:
        return parsedate_to_datetime(value)
    except (TypeError, ValueError, OverflowError, IndexError):
        return None


def _octets(value: str) -> bytes:
    return value.encode("ascii", "surrogateescape")
