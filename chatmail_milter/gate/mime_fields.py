"""Parsers for Content-Type and Content-Transfer-Encoding (RFC 2045, 5 and 6), and for a part's header.

For our users' mail (`strict=True`) they are stricter than the RFCs where programs read the same text
differently: no comments, no RFC 2231 boundary, no unquoted specials. Peers' mail may have these
(`strict=False`): servers that fold long lines split boundaries by RFC 2231. A program that parses them in
another way finds other parts, or none, but nothing readable: all text outside the ciphertext is fixed. No
field and no parameter may occur twice, whoever wrote it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import unquote_to_bytes

from chatmail_milter.gate.fields import unfolded
from chatmail_milter.gate.layers import RefusedError

# Octets of a Content-Type and of a Content-Transfer-Encoding. Real ones stay under 300 and 20.
_CONTENT_TYPE_MOST = 1024
_TRANSFER_ENCODING_MOST = 128
# Number of a Content-Type's parameters, and octets of a parameter's name. Real ones have up to six, and 17.
_PARAMETERS_MOST = 16
_NAME_MOST = 32

# RFC 2045, 5.1: token, and a quoted string without control characters.
_WORD = r"[!#$%&'*+.0-9A-Z^_`a-z{|}~-]+"
_IN_QUOTES = r"[^\x00-\x08\x0a-\x1f\x7f\"\\]"
# Quoted pairs only of a quote or a backslash: programs disagree on whether to undo others.
_QUOTED = rf'"{_IN_QUOTES}*(?:\\["\\]{_IN_QUOTES}*)*"'
_QUOTED_PAIR = re.compile(r"\\(.)")
# RFC 822, 3.4.3, narrowed: without the characters by which a program without support for comments would find
# parameters.
_COMMENT = r"\([!#-'*-:<>-\[\]-~ \t]{0,64}\)"
# RFC 2045, 5.1 requires quotes around a value with `/`, `:`, `=` or `?`; without them it is still
# unambiguous.
_UNQUOTED = r"[!#$%&'*+./0-:=?A-Z^_`a-z{|}~-]+"


class _Grammar:
    """Patterns for a media type, a parameter and a transfer encoding, each with the space after it."""

    def __init__(self, space: str, value: str) -> None:
        self.type = re.compile(rf"({_WORD}/{_WORD}){space}")
        self.parameter = re.compile(rf";{space}(?:({_WORD})[ \t]*=[ \t]*({_QUOTED}|{value}){space})?")
        self.encoding = re.compile(rf"([!-'*-~]*){space}")


_STRICT = _Grammar(r"[ \t]*", _WORD)
_LENIENT = _Grammar(rf"[ \t]*(?:{_COMMENT}[ \t]*)*", _UNQUOTED)

# RFC 5322, 2.2, narrowed: no name that resembles a boundary; no control characters, since some programs end a
# line at CR or NUL; no blank folded lines.
_TEXT = rb"[\t -~\x80-\xff]*"
_PART_FIELD = re.compile(
    rb"([A-Za-z0-9][A-Za-z0-9._-]{0,63}):(" + _TEXT + rb"(?:\r?\n[ \t]+[!-~\x80-\xff]" + _TEXT + rb")*)\r?\n"
)
# Octets of a part's header. Mail programs write up to 400; servers on the way add a few fields.
PART_HEADER_MOST = 2048


@dataclass(frozen=True, slots=True)
class ContentType:
    """A parsed Content-Type. `type` and the names of `parameters` are in lower case."""

    type: str
    parameters: dict[str, str] = field(default_factory=dict)
    strict: bool = True

    @property
    def boundary(self) -> bytes:
        """A multipart's boundary. Raises `RefusedError` without one that all programs parse alike."""
        return boundary(self.parameters, strict=self.strict)


@dataclass(frozen=True, slots=True)
class PartFields:
    """The media type and transfer encoding of a body part, in lower case."""

    type: str
    transfer_encoding: str


def content_type(values: Sequence[bytes], *, strict: bool = True) -> ContentType:
    """Parses Content-Type, given the values of all such fields. Raises `RefusedError` unless there is one."""
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
    """Parses Content-Transfer-Encoding; lower case, empty without such a field. Raises `RefusedError`."""
    if not values:
        return ""
    if len(values) > 1 or len(values[0]) > _TRANSFER_ENCODING_MOST:
        raise RefusedError("transfer-encoding")
    matched = (_STRICT if strict else _LENIENT).encoding.fullmatch(unfolded(values[0]))
    if matched is None:
        raise RefusedError("transfer-encoding")
    return matched[1].lower()


def part_fields(header: bytes, strict: bool = True) -> PartFields:
    """Parses the header of a body part, whose lines have their line ends. Raises `RefusedError`."""
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


# Cache of parsed part headers: a mail program writes the same ones in all messages, and parsing them is a
# fifth of the CPU of a chat message. Headers up to this many octets are cached.
_USUAL_MOST = 512
_usual_part_fields = lru_cache(maxsize=32)(_part_fields)


# RFC 2046, 5.1.1: 1 to 70 bcharsnospace. A blank, which the RFC allows inside, is refused: folding loses it.
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=?-]{1,70}")
# RFC 2231, 4: charset and language before the value. The charset is ignored: a boundary is ASCII.
_EXTENDED = re.compile(r"[A-Za-z0-9_-]*'[A-Za-z0-9-]*'(.*)")
# Pieces of a split boundary: more than enough for 70 characters.
_PIECES_MOST = 10


def boundary(parameters: Mapping[str, str], *, strict: bool) -> bytes:
    """The boundary among a multipart's `parameters` (names in lower case).

    `strict`: refuse RFC 2231 encoding. Raises `RefusedError` if there is none, or more than one.
    """
    names = [name for name in parameters if name == "boundary" or name.startswith("boundary*")]
    if names == ["boundary"]:
        text = parameters["boundary"]
    elif not names or strict:
        raise RefusedError("boundary")
    else:
        text = _joined(parameters, len(names))
    if not _BOUNDARY.fullmatch(text):
        raise RefusedError("boundary")
    return text.encode("ascii")


def _joined(parameters: Mapping[str, str], count: int) -> str:
    """Joins the `count` parameters `boundary*`, `boundary*0`, `boundary*1*`... (RFC 2231, 3 and 4)."""
    if count == 1 and "boundary*" in parameters:
        pieces = [(parameters["boundary*"], True)]
    else:
        pieces = []
        for number in range(min(count, _PIECES_MOST)):
            plain, extended = f"boundary*{number}", f"boundary*{number}*"
            name = plain if plain in parameters else extended
            if name not in parameters:
                break
            pieces.append((parameters[name], name == extended))
    if len(pieces) != count:
        raise RefusedError("boundary")
    if pieces[0][1]:
        matched = _EXTENDED.fullmatch(pieces[0][0])
        if matched is None:
            raise RefusedError("boundary")
        pieces[0] = (matched[1], True)
    return "".join(unquote_to_bytes(text).decode("latin-1") if coded else text for text, coded in pieces)
