"""A message as programs other than ours see it: MIME trees, each by another reader, as plain values.

`by_email` is Python's own parser, which takes nearly anything and lets a lone CR end a line. `by_lines` reads
as the Rust crate mailparse does, and so as Delta Chat's core: LF ends lines, a boundary is a line that
begins like one, the first of several header fields counts. Neither shares a line with the gate.
"""

from __future__ import annotations

import base64
import binascii
import email
import quopri
import re
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import Message

_DEEPEST = 5


@dataclass(frozen=True)
class Tree:
    """An entity. `octets` is its body decoded, `outside` what stands before and after the parts."""

    type: str
    encoding: str
    octets: bytes = b""
    parts: tuple[Tree, ...] = ()
    outside: bytes = b""
    fields: dict[str, list[str]] = field(default_factory=dict)

    @property
    def multipart(self) -> bool:
        return bool(self.parts) or self.type.startswith("multipart/") or self.type.startswith("message/")

    def values(self, name: str) -> list[str]:
        """All values of a header field, unfolded and trimmed."""
        return [" ".join(value.split()) for value in self.fields.get(name, [])]


Reader = Callable[[bytes], Tree]


def by_email(octets: bytes) -> Tree:
    """As `email` in Python's library sees it."""
    return _of_email(email.message_from_bytes(octets))


def _of_email(message: Message) -> Tree:
    fields: dict[str, list[str]] = {}
    for name, value in message.items():
        fields.setdefault(name.lower(), []).append(str(value))
    kind = message.get_content_type()
    encoding = str(message.get("content-transfer-encoding", "")).strip().lower()
    if not message.is_multipart():
        # Not decoded by `email`: it gives up at white space after the encoding's name.
        del message["content-transfer-encoding"]
        return Tree(
            kind, encoding, _decoded(bytes(message.get_payload(decode=True)), encoding), fields=fields
        )
    outside = (message.preamble or "") + (message.epilogue or "")
    parts = tuple(_of_email(part) for part in message.get_payload())  # type: ignore[arg-type]
    return Tree(kind, encoding, b"", parts, outside.encode("utf-8", "surrogateescape"), fields)


def by_lines(octets: bytes, deep: int = 0) -> Tree:
    """As mailparse sees it."""
    fields, body = _header(octets)
    typed = fields.get("content-type", [""])[0].replace("\n", " ")
    kind, parameters = _content_type(typed)
    encoding = fields.get("content-transfer-encoding", [""])[0].strip().lower()
    boundary = parameters.get("boundary", "")
    if not kind.startswith("multipart/") or not boundary or deep > _DEEPEST:
        return Tree(kind or "text/plain", encoding, _decoded(body, encoding), fields=fields)
    outside, texts = _split(body, b"--" + boundary.encode("utf-8", "surrogateescape"))
    parts = tuple(by_lines(text, deep + 1) for text in texts)
    return Tree(kind, encoding, b"", parts, outside, fields)


def _header(octets: bytes) -> tuple[dict[str, list[str]], bytes]:
    """The fields by name in lower case, folded lines still with their LF, and the rest."""
    fields: dict[str, list[str]] = {}
    last: list[str] | None = None
    at = 0
    while at < len(octets):
        end = octets.find(b"\n", at)
        end = len(octets) if end < 0 else end
        line = octets[at:end].decode("utf-8", "surrogateescape")
        at = end + 1
        if line in ("", "\r"):
            break
        name, colon, value = line.partition(":")
        if line[0] in " \t" and last is not None:
            last[-1] += "\n" + line
        elif colon:
            last = fields.setdefault(name.strip().lower(), [])
            last.append(value)
    return fields, octets[at:]


def _content_type(text: str) -> tuple[str, dict[str, str]]:
    """The type in lower case, and its parameters; of two of a name the last counts."""
    kind, _, rest = text.partition(";")
    parameters = {}
    for name, quoted, plain in re.findall(
        r'([^\s;=]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;]*))', rest, re.DOTALL
    ):
        parameters[name.lower()] = re.sub(r"\\(.)", r"\1", quoted) if quoted else plain.strip()
    _join(parameters)
    return kind.strip().lower(), parameters


def _join(parameters: dict[str, str]) -> None:
    """Boundaries of RFC 2231, 3 and 4: in numbered pieces, with a charset and percent-encoded, or both."""
    joined = ""
    for name in ("boundary*", *(f"boundary*{number}{star}" for number in range(20) for star in ("", "*"))):
        if name in parameters:
            value = parameters[name]
            joined += urllib.parse.unquote(value.rpartition("'")[2]) if name.endswith("*") else value
    if joined:
        parameters.setdefault("boundary", joined)


def _split(body: bytes, delimiter: bytes) -> tuple[bytes, list[bytes]]:
    """What stands outside of the parts, and the parts."""
    pieces: list[list[bytes]] = [[]]
    ended = False
    for line in re.findall(rb"[^\n]*\n|[^\n]+", body):
        if line.startswith(delimiter) and not ended:
            ended = line[len(delimiter) :].startswith(b"--")
            pieces.append([])
        else:
            pieces[-1].append(line)
    outside = b"".join(pieces[0]) + (b"".join(pieces[-1]) if ended else b"")
    parts = pieces[1:-1] if ended else pieces[1:]
    return outside, [re.sub(rb"\r?\n\Z", b"", b"".join(lines)) for lines in parts]


def _decoded(body: bytes, encoding: str) -> bytes:
    if encoding == "base64":
        try:
            return base64.b64decode(re.sub(rb"[^A-Za-z0-9+/=]", b"", body))
        except binascii.Error:
            return body
    return quopri.decodestring(body) if encoding == "quoted-printable" else body
