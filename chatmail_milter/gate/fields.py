"""The header fields that the gate keeps, and the author's address in From (RFC 5322, 3.6.2).

MIME's fields are in `mime_fields`. Stricter than the RFC where programs read the same text differently: a
display name must not have unquoted specials. No chat client writes any.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from chatmail_milter import address
from chatmail_milter.address import MalformedAddressError

# The values of these fields, in lower case, decide the kind of a message ...
_READ = (
    b"content-type",
    b"content-transfer-encoding",
    b"from",
    b"subject",
    b"auto-submitted",
    b"secure-join",
)
# ... and of these only the number counts: they must not repeat (RFC 5322, 3.6).
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

# RFC 5322, 2.2.3. A line end without white space after it stays, and is then refused as a control character.
_FOLD = re.compile(rb"\r?\n(?=[ \t])")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")

# Octets of the longest value that is parsed, and values kept per name: a second shows that the field repeats.
FIELD_MOST = 4096
FIELDS_KEPT = 2


def unfolded(value: bytes) -> str:
    """A field's value without its folds (RFC 5322, 2.2.3), decoded as Latin-1."""
    return (_FOLD.sub(b"", value) if b"\n" in value else value).decode("latin-1").strip(" \t")


# The tokens of a From: quoted pair, quoted string, parenthesis, run of other characters.
_AUTHOR_PIECE = re.compile(r'\\.|"(?:[^"\\]|\\.)*"|[()]|[^\\"()]+|.')
_NAME_AND_ADDRESS = re.compile(r'[^<>@,;:\\"]*<([^<>]*)>[ \t]*')


def author(values: Sequence[bytes]) -> str:
    """The canonical address of the author, given the `values` of all From fields.

    There must be one From, with one mailbox. Raises `MalformedAddressError`, also for a group or for a
    display name with unquoted specials: programs read different addresses from these. Linear time.
    """
    if len(values) != 1:
        raise MalformedAddressError("a message has one From header")
    if len(values[0]) > FIELD_MOST:
        raise MalformedAddressError("the From header is too long")
    # UTF-8, as clients decode it: as Latin-1, a non-ASCII domain would become a different domain.
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
            # A quoted string may be a display name, but not part of an address: there, `parse` refuses the
            # NUL.
            plain.append("\0" if len(piece) > 1 and piece[0] == '"' else piece)
    text = "".join(plain).strip(" \t")
    matched = _NAME_AND_ADDRESS.fullmatch(text)
    if depth or (matched is None and "<" in text):
        raise MalformedAddressError("the From header must name one mailbox")
    return address.parse(matched[1] if matched else text)
