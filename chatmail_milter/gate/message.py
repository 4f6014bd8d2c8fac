"""A message in a file, opened for the gate: the few header fields that it reads, then the body in chunks.

Only for `chatmailctl` and tests: in the milter, Postfix has taken the message apart already. The header
ends where Postfix lets it end: at an empty line, or before a line that is no field. What is kept of it is
bounded, however long it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from chatmail_milter.gate.fields import FIELD_MOST, FIELDS, FIELDS_KEPT

Field = tuple[bytes, bytes]

_CHUNK = 65536
# More than any reader of a field takes, by more than the line end that is cut off here.
_VALUE_MOST = FIELD_MOST + 16
_FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:[ \t]*(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Message:
    """`fields` are those that the gate asks for, in order, too long ones cut; `body` can be read once.

    `header_octets` is how long the header is, with the empty line that ends it.
    """

    fields: tuple[Field, ...]
    header_octets: int
    body: Iterator[bytes]


def read(stream: BinaryIO) -> Message:
    """The message that `stream` holds, read as far as its body."""
    kept: list[tuple[bytes, bytearray]] = []
    counts = dict.fromkeys(FIELDS, 0)
    value: bytearray | None = None  # of the field whose lines come, if the gate reads that
    begins = True  # whether what comes is the beginning of a line
    octets = 0
    while line := stream.readline(_CHUNK):
        if begins and not line.rstrip(b"\r\n"):
            octets += len(line)
            line = b""
            break
        text = line
        if begins and line[:1] not in (b" ", b"\t"):
            matched = _FIELD.match(line)
            if matched is None:
                break
            name, text = matched[1].lower(), matched[2]
            value = None
            if name in FIELDS and counts[name] < FIELDS_KEPT:
                counts[name] += 1
                value = bytearray()
                kept.append((name, value))
        if value is not None:
            value += text[: _VALUE_MOST - len(value)]
        begins = line.endswith(b"\n")
        octets += len(line)
    fields = tuple((name, bytes(value.removesuffix(b"\n").removesuffix(b"\r"))) for name, value in kept)
    return Message(fields, octets, _body(stream, line))


def _body(stream: BinaryIO, first: bytes) -> Iterator[bytes]:
    if first:
        yield first
    while chunk := stream.read(_CHUNK):
        yield chunk
