"""Reads a message from a stream for the gate: the header as fields, then the body in chunks.

Used by `chatmailctl`, by tests, and for messages quoted in delivery reports; to the milter Postfix passes
header fields and body separately. As for Postfix, the header ends at an empty line, or before a line that is
no field. Memory is bounded, whatever the size of the header.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from chatmail_milter.gate.header import Header, canonical

Field = tuple[bytes, bytes]

_CHUNK = 65536
# More octets than the gate accepts in any field, so that truncation is noticed. Postfix truncates at
# header_size_limit.
_VALUE_MOST = 102_400 + 16
_FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:[ \t]*(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Message:
    """`body` can be iterated once. `header_octets`: size of the header with the empty line that ends it."""

    header: Header
    header_octets: int
    body: Iterator[bytes]

    @property
    def fields(self) -> tuple[Field, ...]:
        """The fields that the gate reads, in order, (lower-case name, value), long values truncated."""
        return tuple(self.header.fields)


def read(stream: BinaryIO) -> Message:
    """Parses the header from `stream`. The body is read from the stream later, when it is iterated."""
    header = Header()
    name = b""  # of the current field, empty before the first
    value = bytearray()
    begins = True  # whether `line` is the beginning of a line, not the rest of a long one
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
            _add(header, name, value)
            name, text, value = matched[1], matched[2], bytearray()
        value += text[: _VALUE_MOST - len(value)]
        begins = line.endswith(b"\n")
        octets += len(line)
    _add(header, name, value)
    return Message(header, octets, _body(stream, line))


def _add(header: Header, name: bytes, value: bytearray) -> None:
    if name:
        header.add(canonical(name), bytes(value.removesuffix(b"\n").removesuffix(b"\r")))


def _body(stream: BinaryIO, first: bytes) -> Iterator[bytes]:
    if first:
        yield first
    while chunk := stream.read(_CHUNK):
        yield chunk
