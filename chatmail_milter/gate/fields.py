"""Header fields as values: Content-Type (RFC 2045, 5), a body part's, and the author (RFC 5322, 3.6.2).

Stricter than the RFCs where programs are known to read the same text differently: no comments in a
Content-Type, no RFC 2231 boundary, nothing twice, no unquoted specials in a display name. What is refused
here is nothing that a chat client writes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from chatmail_milter import address
from chatmail_milter.address import MalformedAddressError
from chatmail_milter.gate.errors import RefusedError

# The fields of a message that the gate reads, in lower case.
FIELDS = frozenset(
    (b"auto-submitted", b"content-transfer-encoding", b"content-type", b"from", b"secure-join", b"subject")
)

# RFC 2045, 5.1: token.
_WORD = r"[!#$%&'*+.0-9A-Z^_`a-z{|}~-]+"
_TYPE = re.compile(rf"[ \t]*({_WORD}/{_WORD})[ \t]*")
_PARAMETER = re.compile(rf';[ \t]*(?:({_WORD})[ \t]*=[ \t]*("(?:[^"\\]|\\.)*"|{_WORD})[ \t]*)?')
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_QUOTED_PAIR = re.compile(r"\\(.)")
# RFC 2046, 5.1.1 allows 1 to 70 of fewer characters; quoted, programs write nearly any.
_BOUNDARY = re.compile(r"[!-~](?:[ -~]{0,68}[!-~])?")
# Longest Content-Type that is parsed, longest From.
_FIELD_MOST = 4096

# RFC 5322, 2.2, narrowed to the names that fields of a body part have (RFC 2045: Content-).
_PART_FIELD = re.compile(rb"([A-Za-z0-9][A-Za-z0-9-]*):(.*)", re.DOTALL)


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
    return value.replace(b"\r", b"").replace(b"\n", b"").decode("latin-1").strip(" \t")


def content_type(values: Sequence[bytes]) -> ContentType:
    """The one Content-Type among `values`. Raises `RefusedError`."""
    if len(values) != 1 or len(values[0]) > _FIELD_MOST:
        raise RefusedError("content-type")
    text = unfolded(values[0])
    matched = _TYPE.match(text)
    if matched is None or _CONTROL.search(text):
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
        if name.lower() in parameters:
            raise RefusedError("content-type")
        if value[0] == '"':
            value = value[1:-1]
            value = _QUOTED_PAIR.sub(r"\1", value) if "\\" in value else value
        parameters[name.lower()] = value
    return ContentType(matched[1].lower(), parameters)


def transfer_encoding(values: Sequence[bytes]) -> str:
    """The Content-Transfer-Encoding in lower case, empty if there is none. Raises `RefusedError`."""
    if len(values) > 1:
        raise RefusedError("transfer-encoding")
    return unfolded(values[0]).lower() if values else ""


def part_fields(lines: Iterable[bytes]) -> PartFields:
    """The header of a body part, given in lines without their ends. Raises `RefusedError`."""
    fields: list[tuple[bytes, list[bytes]]] = []
    for line in lines:
        if line[:1] in (b" ", b"\t") and fields:
            fields[-1][1].append(line)
            continue
        matched = _PART_FIELD.fullmatch(line)
        if matched is None:
            raise RefusedError("part-header")
        fields.append((matched[1].lower(), [matched[2]]))
    by_name: dict[bytes, list[bytes]] = {}
    for name, pieces in fields:
        by_name.setdefault(name, []).append(b"".join(pieces))
    return PartFields(
        content_type(by_name.get(b"content-type", [])).type,
        transfer_encoding(by_name.get(b"content-transfer-encoding", [])),
    )


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
    if len(values[0]) > _FIELD_MOST:
        raise MalformedAddressError("the From header is too long")
    depth = 0
    plain: list[str] = []
    for piece in _AUTHOR_PIECE.findall(unfolded(values[0])):
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
