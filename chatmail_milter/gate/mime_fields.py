"""MIME's header fields as values (RFC 2045, 5 and 6), and the header of a body part.

Of what users submit, stricter than the RFCs where programs read the same text differently: no comments, no
RFC 2231 boundary, no unquoted specials. Mail of peers may have these (`strict=False`): a reader that takes
such a text otherwise finds other parts or none, but nothing readable in them, since all that is outside of
the ciphertext is known text. Nothing may be there twice, from anyone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from chatmail_milter.gate.boundary import boundary
from chatmail_milter.gate.errors import RefusedError
from chatmail_milter.gate.fields import unfolded

# Octets of a whole Content-Type, and of a transfer encoding. Real ones stay under 300 and 20.
_CONTENT_TYPE_MOST = 1024
_TRANSFER_ENCODING_MOST = 128
# Parameters of a Content-Type, and the length of their names. Real ones have six, of 17 characters.
_PARAMETERS_MOST = 16
_NAME_MOST = 32

# RFC 2045, 5.1: token, and a quoted string without control characters.
_WORD = r"[!#$%&'*+.0-9A-Z^_`a-z{|}~-]+"
_IN_QUOTES = r"[^\x00-\x08\x0a-\x1f\x7f\"\\]"
# Of quoted pairs, a quote and a backslash: others are undone by some programs and kept by others.
_QUOTED = rf'"{_IN_QUOTES}*(?:\\["\\]{_IN_QUOTES}*)*"'
_QUOTED_PAIR = re.compile(r"\\(.)")
# RFC 822, 3.4.3, narrowed: none of the characters by which a program that knows no comments finds parameters.
_COMMENT = r"\([!#-'*-:<>-\[\]-~ \t]{0,64}\)"
# RFC 2045, 5.1 requires quotes around a value with these; nothing else can be meant by them.
_UNQUOTED = r"[!#$%&'*+./0-:=?A-Z^_`a-z{|}~-]+"


class _Grammar:
    """A Content-Type's type and one parameter, and a transfer encoding, each with what may surround it."""

    def __init__(self, space: str, value: str) -> None:
        self.type = re.compile(rf"({_WORD}/{_WORD}){space}")
        self.parameter = re.compile(rf";{space}(?:({_WORD})[ \t]*=[ \t]*({_QUOTED}|{value}){space})?")
        self.encoding = re.compile(rf"([!-'*-~]*){space}")


_STRICT = _Grammar(r"[ \t]*", _WORD)
_LENIENT = _Grammar(rf"[ \t]*(?:{_COMMENT}[ \t]*)*", _UNQUOTED)

# RFC 5322, 2.2, narrowed: names that no program takes for a boundary; no control characters, since some
# programs take a CR or NUL for an end; folded lines that aren't blank.
_TEXT = rb"[\t -~\x80-\xff]*"
_PART_FIELD = re.compile(
    rb"([A-Za-z0-9][A-Za-z0-9._-]{0,63}):(" + _TEXT + rb"(?:\r?\n[ \t]+[!-~\x80-\xff]" + _TEXT + rb")*)\r?\n"
)
# Octets of a part's header as a whole; mail programs write up to 400, and servers on the way add a few
# fields.
PART_HEADER_MOST = 2048


@dataclass(frozen=True, slots=True)
class ContentType:
    """`type` and the names of `parameters` are in lower case."""

    type: str
    parameters: dict[str, str] = field(default_factory=dict)
    strict: bool = True

    @property
    def boundary(self) -> bytes:
        """The boundary of a multipart. Raises `RefusedError` if it has none that all programs agree about."""
        return boundary(self.parameters, strict=self.strict)


@dataclass(frozen=True, slots=True)
class PartFields:
    """What we need of the header of a body part."""

    type: str
    transfer_encoding: str


def content_type(values: Sequence[bytes], *, strict: bool = True) -> ContentType:
    """The one Content-Type among `values`. Raises `RefusedError`."""
    if len(values) != 1 or len(values[0]) > _CONTENT_TYPE_MOST:
        raise RefusedError("content-type")
    grammar = _STRICT if strict else _LENIENT
    text = unfolded(values[0])
    matched = grammar.type.match(text)
    if matched is None:
        raise RefusedError("content-type")
    parameters: dict[str, str] = {}
    at = matched.end()
    while at < len(text):
        parameter = grammar.parameter.match(text, at)
        if parameter is None:
            raise RefusedError("content-type")
        at = parameter.end()
        name, value = parameter.groups()
        if name is None:
            continue
        name = name.lower()
        if name in parameters or len(parameters) == _PARAMETERS_MOST or len(name) > _NAME_MOST:
            raise RefusedError("content-type")
        if value[0] == '"':
            value = value[1:-1]
            value = _QUOTED_PAIR.sub(r"\1", value) if "\\" in value else value
        parameters[name] = value
    return ContentType(matched[1].lower(), parameters, strict)


def transfer_encoding(values: Sequence[bytes], *, strict: bool = True) -> str:
    """The Content-Transfer-Encoding in lower case, empty if there is none. Raises `RefusedError`."""
    if not values:
        return ""
    if len(values) > 1 or len(values[0]) > _TRANSFER_ENCODING_MOST:
        raise RefusedError("transfer-encoding")
    matched = (_STRICT if strict else _LENIENT).encoding.fullmatch(unfolded(values[0]))
    if matched is None:
        raise RefusedError("transfer-encoding")
    return matched[1].lower()


def part_fields(header: bytes, strict: bool = True) -> PartFields:
    """The header of a body part, each line with its end. Raises `RefusedError`."""
    return (_usual_part_fields if len(header) <= _USUAL_MOST else _part_fields)(header, strict)


def _part_fields(header: bytes, strict: bool) -> PartFields:
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
    return PartFields(content_type(types, strict=strict).type, transfer_encoding(encodings, strict=strict))


# A mail program writes the same few octets above the parts of all its messages, and to read those again is a
# fifth of what a chat message costs here. Bounded in number and size.
_USUAL_MOST = 512
_usual_part_fields = lru_cache(maxsize=32)(_part_fields)
