"""A message in a file, opened for the gate: its header, then the body in chunks.

Only for `chatmailctl`, tests, and messages that reports quote: in the milter, Postfix has taken the message
apart already. The header ends where Postfix lets it end: at an empty line, or before a line that is no field.
What is kept of it is bounded, however long it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from chatmail_milter.gate.header import Header, canonical

Field = tuple[bytes, bytes]

_CHUNK = 65536
# More than any field may have (header_size_limit of Postfix, which cuts off the rest).
_VALUE_MOST = 102_400 + 16
_FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:[ \t]*(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Message:
    """`body` can be read once. `header_octets` counts the header, with the empty line that ends it."""

    header: Header
    header_octets: int
    body: Iterator[bytes]

    @property
    def fields(self) -> tuple[Field, ...]:
        """The fields that the gate asks for, in order, too long ones cut."""
        return tuple(self.header.fields)


def read(stream: BinaryIO) -> Message:
    """The message that `stream` holds, read as far as its body."""
    header = Header()
    name = b""  # of the current field, empty before the first
    value = bytearray()
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
