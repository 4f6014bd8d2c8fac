"""Header fields as values: Content-Type (RFC 2045, 5), a body part's, and the author (RFC 5322, 3.6.2).

Stricter than the RFCs where programs are known to read the same text differently: no comments in a
Content-Type, no RFC 2231 boundary, nothing twice, no unquoted specials in a display name. What is refused
here is nothing that a chat client writes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from chatmail_milter import address
from chatmail_milter.address import MalformedAddressError
from chatmail_milter.gate.errors import RefusedError

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

# RFC 2045, 5.1: token, and a quoted string without control characters.
_WORD = r"[!#$%&'*+.0-9A-Z^_`a-z{|}~-]+"
_IN_QUOTES = r"[^\x00-\x08\x0a-\x1f\x7f\"\\]"
# Of quoted pairs, a quote and a backslash: others are undone by some programs and kept by others.
_QUOTED = rf'"{_IN_QUOTES}*(?:\\["\\]{_IN_QUOTES}*)*"'
_TYPE = re.compile(rf"({_WORD}/{_WORD})[ \t]*")
_PARAMETER = re.compile(rf";[ \t]*(?:({_WORD})[ \t]*=[ \t]*({_QUOTED}|{_WORD})[ \t]*)?")
_QUOTED_PAIR = re.compile(r"\\(.)")
# RFC 2046, 5.1.1 allows 1 to 70 of fewer characters; quoted, programs write nearly any.
_BOUNDARY = re.compile(r"[!-~](?:[ -~]{0,68}[!-~])?")
# Longest value of a field that is read, and how many of a name: the second shows that there are too many.
FIELD_MOST = 4096
FIELDS_KEPT = 2

# RFC 5322, 2.2, narrowed: names of letters, digits and hyphens, as all fields of a body part have; no control
# characters, since some programs take a CR or NUL for an end; folded lines that aren't blank.
_TEXT = rb"[\t -~\x80-\xff]*"
_PART_FIELD = re.compile(
    rb"([A-Za-z0-9][A-Za-z0-9-]*):(" + _TEXT + rb"(?:\r?\n[ \t]+[!-~\x80-\xff]" + _TEXT + rb")*)\r?\n"
)


@dataclass(frozen=True, slots=True)
class ContentType:
    """`type` and the names of `parameters` are in lower case."""

    type: str
    parameters: dict[str, str] = field(default_factory=dict)

    @property
    def boundary(self) -> bytes:
        """The boundary of a multipart. Raises `RefusedError` if it has none that all programs agree about."""
        text = self.parameters.get("boundary", "")
        extended = any(name.startswith("boundary*") for name in self.parameters)
        if extended or not _BOUNDARY.fullmatch(text):
            raise RefusedError("boundary")
        return text.encode("ascii")


@dataclass(frozen=True, slots=True)
class PartFields:
    """What we need of the header of a body part."""

    type: str
    transfer_encoding: str


def unfolded(value: bytes) -> str:
    """A field's value on one line (RFC 5322, 2.2.3), octets as Latin-1."""
    return (_FOLD.sub(b"", value) if b"\n" in value else value).decode("latin-1").strip(" \t")


def content_type(values: Sequence[bytes]) -> ContentType:
    """The one Content-Type among `values`. Raises `RefusedError`."""
    if len(values) != 1 or len(values[0]) > FIELD_MOST:
        raise RefusedError("content-type")
    text = unfolded(values[0])
    matched = _TYPE.match(text)
    if matched is None:
        raise RefusedError("content-type")
    parameters: dict[str, str] = {}
    at = matched.end()
    while at < len(text):
        parameter = _PARAMETER.match(text, at)
        if parameter is None:
            raise RefusedError("content-type")
        at = parameter.end()
        name, value = parameter.groups()
        if name is None:
            continue
        name = name.lower()
        if name in parameters:
            raise RefusedError("content-type")
        if value[0] == '"':
            value = value[1:-1]
            value = _QUOTED_PAIR.sub(r"\1", value) if "\\" in value else value
        parameters[name] = value
    return ContentType(matched[1].lower(), parameters)


def transfer_encoding(values: Sequence[bytes]) -> str:
    """The Content-Transfer-Encoding in lower case, empty if there is none. Raises `RefusedError`."""
    if not values:
        return ""
    if len(values) > 1 or len(values[0]) > FIELD_MOST:
        raise RefusedError("transfer-encoding")
    return unfolded(values[0]).lower()


def part_fields(header: bytes) -> PartFields:
    """The header of a body part, each line with its end. Raises `RefusedError`."""
    return (_usual_part_fields if len(header) <= _USUAL_MOST else _part_fields)(header)


def _part_fields(header: bytes) -> PartFields:
    types: list[bytes] = []
    encodings: list[bytes] = []
    at = 0
    while at < len(header):
        field = _PART_FIELD.match(header, at)
        if field is None:
            raise RefusedError("part-header")
        at = field.end()
        name = field[1].lower()
        if name == b"content-type":
            types.append(field[2])
        elif name == b"content-transfer-encoding":
            encodings.append(field[2])
    return PartFields(content_type(types).type, transfer_encoding(encodings))


# A mail program writes the same few octets above the parts of all its messages, and to read those again is a
# fifth of what a chat message costs here. Bounded in number and size.
_USUAL_MOST = 512
_usual_part_fields = lru_cache(maxsize=32)(_part_fields)


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
