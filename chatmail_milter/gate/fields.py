"""Which fields of a message the gate reads, and its author (RFC 5322, 3.6.2); for MIME's see `mime_fields`.

Stricter than the RFC where programs are known to read the same text differently: no unquoted specials in a
display name. What is refused here is nothing that a chat client writes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from chatmail_milter import address
from chatmail_milter.address import MalformedAddressError

# The fields of a message that the gate reads, in lower case: by these it knows what a message is ...
_READ = (
    b"content-type",
    b"content-transfer-encoding",
    b"from",
    b"subject",
    b"auto-submitted",
    b"secure-join",
)
# ... and these it counts with them (RFC 5322, 3.6), or asks for in a setup message (Autocrypt 1.1).
_COUNTED = (
    b"date",
    b"sender",
    b"reply-to",
    b"to",
    b"cc",
    b"bcc",
    b"message-id",
    b"in-reply-to",
    b"references",
)
FIELDS = frozenset((*_READ, *_COUNTED, b"autocrypt-setup-message"))

# RFC 5322, 2.2.3. A line end that folds nothing stays, and is a control character then.
_FOLD = re.compile(rb"\r?\n(?=[ \t])")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")

# Longest value of a field that is read, and how many of a name: the second shows that there are too many.
FIELD_MOST = 4096
FIELDS_KEPT = 2


def unfolded(value: bytes) -> str:
    """A field's value on one line (RFC 5322, 2.2.3), octets as Latin-1."""
    return (_FOLD.sub(b"", value) if b"\n" in value else value).decode("latin-1").strip(" \t")


# Of a From: quoted pairs, quoted strings, parentheses, and runs of what means nothing.
_AUTHOR_PIECE = re.compile(r'\\.|"(?:[^"\\]|\\.)*"|[()]|[^\\"()]+|.')
_NAME_AND_ADDRESS = re.compile(r'[^<>@,;:\\"]*<([^<>]*)>[ \t]*')


def author(values: Sequence[bytes]) -> str:
    """The one mailbox of the one From field among `values`, canonical. Raises `MalformedAddressError`.

    A group, a second mailbox, or a display name with unquoted specials is malformed: programs disagree
    about whom those name. Time is linear in the field's length.
    """
    if len(values) != 1:
        raise MalformedAddressError("a message has one From header")
    if len(values[0]) > FIELD_MOST:
        raise MalformedAddressError("the From header is too long")
    # Read as UTF-8, like clients do: as Latin-1, a domain that isn't ASCII would be somebody else's.
    whole = unfolded(values[0]).encode("latin-1").decode("utf-8", "surrogateescape")
    if _CONTROL.search(whole):
        raise MalformedAddressError("the From header has control characters")
    depth = 0
    plain: list[str] = []
    for piece in _AUTHOR_PIECE.findall(whole):
        if piece in "()":
            depth += 1 if piece == "(" else -1
            if depth < 0:
                raise MalformedAddressError("the From header can't be parsed")
        elif not depth:
            # A quoted string may be a display name; where it is an address, NUL has that refused.
            plain.append("\0" if len(piece) > 1 and piece[0] == '"' else piece)
    text = "".join(plain).strip(" \t")
    matched = _NAME_AND_ADDRESS.fullmatch(text)
    if depth or (matched is None and "<" in text):
        raise MalformedAddressError("the From header must name one mailbox")
    return address.parse(matched[1] if matched else text)
