"""A message in a file, opened for the gate: the few header fields that it reads, then the body in chunks.

Only for `chatmailctl` and tests: in the milter, Postfix has taken the message apart already. The header
ends where Postfix lets it end: at an empty line, or before a line that is no field.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from chatmail_milter.gate.fields import FIELDS

Field = tuple[bytes, bytes]

_CHUNK = 65536
_FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:[ \t]*(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Message:
    """`fields` are those that the gate asks for, in order; `body` can be read once."""

    fields: tuple[Field, ...]
    body: Iterator[bytes]


def read(stream: BinaryIO) -> Message:
    """The message that `stream` holds, read as far as its body."""
    fields: list[tuple[bytes, list[bytes]]] = []
    wanted = False
    line = b""
    while line := stream.readline(_CHUNK):
        if not line.rstrip(b"\r\n"):
            line = b""
            break
        if line[:1] in (b" ", b"\t"):
            if wanted:
                fields[-1][1].append(line)
            continue
        matched = _FIELD.match(line)
        if matched is None:
            break
        wanted = matched[1].lower() in FIELDS
        if wanted:
            fields.append((matched[1], [matched[2]]))
    header = tuple((name, b"".join(pieces).rstrip(b"\r\n")) for name, pieces in fields)
    return Message(header, _body(stream, line))


def _body(stream: BinaryIO, first: bytes) -> Iterator[bytes]:
    if first:
        yield first
    while chunk := stream.read(_CHUNK):
        yield chunk
