"""The wire format of WebIMAP: JSON to values, messages of IMAP to JSON. Pure; docs/wire.md, section 5.

A message may have any octets, but JSON is text. So octets are decoded as UTF-8, and any that is not UTF-8
becomes a lone surrogate (PEP 383): nothing is lost in either direction.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

# RFC 3501, 9: a flag is an atom, and begins with a backslash if it is a system flag.
_FLAG = re.compile(r"\\?[A-Za-z0-9$_.-]{1,64}", re.ASCII)
# Not a check of the address, which is Postfix's: only what an SMTP command can hold.
_ADDRESS = re.compile(r"[!-;=?-~]{1,254}", re.ASCII)
# What no account has, and no SASL PLAIN can hold (RFC 4616, 2): NUL, and what is no character.
_UNFIT = re.compile("[\0\ud800-\udfff]")
_UID_MAX = 2**32 - 1
_FLAGS_MAX = 20
# A thousand recipients are two thousand, in `to` and in the header of the message. Encrypted text has none.
_VALUES_MAX = 20_000
# Addresses of a field, of a message to as many recipients as one can have. A sender may write far more.
_ADDRESSES_MAX = 1000
OPS = ("add", "remove", "set")


class WireError(Exception):
    """An error for the client: an HTTP status, and a text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


def decoded(octets: bytes | str) -> dict[str, Any]:
    """A JSON object of few values: each may take fifty times its octets in memory."""
    raw = octets if isinstance(octets, bytes) else octets.encode("utf-8", "surrogatepass")
    if sum(raw.count(one) for one in (b"{", b"[", b",")) > _VALUES_MAX:
        raise WireError(413, f"the JSON has more than {_VALUES_MAX} of `{{`, `[` and `,`")
    try:
        found = json.loads(octets)
    except (ValueError, RecursionError):
        raise WireError(400, "invalid JSON") from None
    if not isinstance(found, dict):
        raise WireError(400, "wants a JSON object")
    return found


def text(data: Mapping[str, Any], key: str, default: str | None = None, longest: int = 255) -> str:
    """One line of text without control characters."""
    found = data.get(key) or default
    if found is None:
        raise WireError(400, f"{key} is required")
    if not isinstance(found, str) or len(found) > longest or not found.isprintable():
        raise WireError(400, f"{key}: wants a line of text, at most {longest} characters")
    return found


def number(data: Mapping[str, Any], key: str, default: int | None = None, most: int = _UID_MAX) -> int:
    """A number, also as text, as in a query, where empty is absent. More than `most` is `most`."""
    found = data.get(key)
    if found is None or found == "":
        found = default
    if found is None:
        raise WireError(400, f"{key} is required")
    if isinstance(found, str) and re.fullmatch("[0-9]{1,10}", found, re.ASCII):
        found = int(found)
    if not isinstance(found, int) or isinstance(found, bool) or found < 0:
        raise WireError(400, f"{key}: wants a number")
    return min(found, most)


def flags(data: Mapping[str, Any]) -> list[str]:
    """Flags of IMAP."""
    found = data.get("flags")
    if not isinstance(found, list) or len(found) > _FLAGS_MAX:
        raise WireError(400, f"flags: wants a list of at most {_FLAGS_MAX} flags")
    if not all(isinstance(one, str) and _FLAG.fullmatch(one) for one in found):
        raise WireError(400, "flags: one is not a flag of IMAP")
    return found


def recipients(data: Mapping[str, Any], most: int) -> list[str]:
    """Addresses for RCPT."""
    found = data.get("to")
    if not isinstance(found, list) or not 0 < len(found) <= most:
        raise WireError(400, f"to: wants a list of 1 to {most} addresses")
    if not all(isinstance(one, str) and _ADDRESS.fullmatch(one) for one in found):
        raise WireError(400, "to: one is not an address")
    return found


def message(data: Mapping[str, Any], largest: int) -> bytes:
    """The message in `body`."""
    body = data.get("body")
    if not isinstance(body, str) or not body:
        raise WireError(400, "body: wants a message")
    try:
        octets = body.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise WireError(400, "body: holds a surrogate that stands for no octet") from None
    if len(octets) > largest:
        raise WireError(413, f"the message is larger than {largest} octets")
    return octets


def credentials(data: Mapping[str, Any]) -> tuple[str, str]:
    """Name and password."""
    email, password = data.get("email"), data.get("password")
    if not isinstance(email, str) or not isinstance(password, str) or not email or not password:
        raise WireError(401, "missing credentials")
    if _UNFIT.search(email + password) or len(email) > 320 or len(password) > 1024:
        raise WireError(401, "authentication failed")
    return email, password


def summary(uid: int, found: Mapping[bytes, Any]) -> dict[str, Any]:
    """A message as lists have it, from what IMAP said of it (by IMAPClient)."""
    envelope = found[b"ENVELOPE"]
    return {
        "uid": uid,
        "seq_num": found[b"SEQ"],
        # `\Recent` is of the session (RFC 3501, 2.3.2), and each request is one.
        "flags": [_string(flag) for flag in found[b"FLAGS"] if flag != b"\\Recent"],
        "size": found[b"RFC822.SIZE"],
        "date": _date(found[b"INTERNALDATE"]),
        "envelope": {
            "date": _date(envelope.date),
            "subject": _string(envelope.subject),
            "from": _addresses(envelope.from_),
            "to": _addresses(envelope.to),
            "cc": _addresses(envelope.cc),
            "message_id": _string(envelope.message_id),
            "in_reply_to": _string(envelope.in_reply_to),
        },
    }


def octets(summary: Mapping[str, Any]) -> int:
    """About how many octets a summary has as JSON."""
    envelope = summary["envelope"]
    texts = sum(len(envelope[field]) for field in ("subject", "message_id", "in_reply_to"))
    return texts + 100 * sum(len(envelope[field]) for field in ("from", "to", "cc"))


def decoder() -> codecs.IncrementalDecoder:
    """Makes text of a message's octets, piece by piece; `message` makes the same octets of it."""
    return codecs.getincrementaldecoder("utf-8")("surrogateescape")


def encoded(value: Any) -> str:
    """JSON in ASCII, which holds surrogates."""
    return json.dumps(value, separators=(",", ":"))


def _string(octets: bytes | None) -> str:
    return (octets or b"").decode("utf-8", "replace")


def _date(moment: datetime | None) -> str:
    # RFC 3339. IMAPClient gives local time without a zone.
    if moment is None:
        return ""
    try:
        return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError):  # A sender may write any year, and UTC may be beyond year 9999.
        return ""


def _addresses(found: Any) -> list[dict[str, str]]:
    return [
        {"name": _string(one.name), "mailbox": _string(one.mailbox), "host": _string(one.host)}
        for one in (found or ())[:_ADDRESSES_MAX]
    ]
