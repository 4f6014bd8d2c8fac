"""Messages made wrong on purpose, where programs are known to read the same octets differently.

Each mutation takes a source of chance and a message and returns another; they know MIME's shape, those of
`packet_mutations` the armor's and the packets'. What they put in can be read: whether it shows is for the
readers in `trees` to say.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random

from tests.corpus import field_mutations, packet_mutations
from tests.corpus.field_mutations import CLEAR, TYPES, boundary_of

Mutation = Callable[[Random, bytes], bytes]

_LINE_ENDS = (
    b"\n",
    b"\r",
    b"\r\r\n",
    b"\r\n\r\n",
    b"\n\r",
    b"\0\r\n",
    b"\x0b",
    b"\x0c\r\n",
    b" \r\n",
    b"\t\n",
    b"\x85",
)
_BEFORE_BOUNDARY = (b"", b"", b"\n", b"\r", b"\r\n\r\n", b" ", b"\t", b"\0", b"-", b"A")
_AFTER_BOUNDARY = (
    b"",
    b"--",
    b" ",
    b"\t",
    b"x",
    b"-",
    b"--x",
    b"---",
    b"--\0",
    b" --",
    b"\x0c",
    b"\r",
    b" x",
)


def mutate(random: Random, octets: bytes, times: int) -> bytes:
    """The message after so many mutations."""
    for _ in range(times):
        octets = random.choice(MUTATIONS)(random, octets)
    return octets


def _lines(octets: bytes) -> list[bytes]:
    return octets.splitlines(keepends=True) or [b""]


def _put_in(random: Random, octets: bytes, text: bytes) -> bytes:
    """`text` before some line: the ends of the message, its header and boundaries above all."""
    lines = _lines(octets)
    edge = [n for n, line in enumerate(lines) if line[:2] == b"--" or not line.strip() or b":" in line]
    near = [n + step for n in edge for step in (0, 1)] + [0, len(lines)]
    at = random.choice(near) if random.random() < 0.8 else random.randrange(len(lines) + 1)
    return b"".join([*lines[:at], text, *lines[at:]])


def text(random: Random, octets: bytes) -> bytes:
    return _put_in(random, octets, random.choice(CLEAR) + random.choice((b"\r\n", b"\n", b"\r", b"")))


def noise(random: Random, octets: bytes) -> bytes:
    at = random.randrange(len(octets) + 1)
    some = random.choice((b"", b"\r", b"\n", b"\0", b"=", b"-", b" ", b"\xff", b":", b";", b'"', *CLEAR))
    return octets[:at] + some + octets[at + random.randrange(4) :]


def line_order(random: Random, octets: bytes) -> bytes:
    """A line left out, doubled, or moved."""
    lines = _lines(octets)
    line = lines.pop(random.randrange(len(lines)))
    for _ in range(random.randrange(3)):
        lines.insert(random.randrange(len(lines) + 1), line)
    return b"".join(lines)


def line_end(random: Random, octets: bytes) -> bytes:
    lines = _lines(octets)
    edge = [n for n, line in enumerate(lines) if len(line) < 60] or [0]
    at = random.choice(edge)
    lines[at] = lines[at].rstrip(b"\r\n") + random.choice(_LINE_ENDS)
    return b"".join(lines)


def all_line_ends(random: Random, octets: bytes) -> bytes:
    return octets.replace(b"\r\n", random.choice((b"\n", b"\r", b"\r\r\n")))


def boundary_line(random: Random, octets: bytes) -> bytes:
    """One more line that is a boundary to some, or one of those there made so."""
    name = b"--" + boundary_of(octets)
    before, after = random.choice(_BEFORE_BOUNDARY), random.choice(_AFTER_BOUNDARY)
    if random.random() < 0.5:
        return _put_in(random, octets, before + name + after + random.choice((b"\r\n", b"\n", b"\r", b"")))
    found = list(re.finditer(re.escape(name) + rb"(?:--)?", octets))
    if not found:
        return octets
    at = random.choice(found)
    return octets[: at.start()] + before + at[0] + after + octets[at.end() :]


def part(random: Random, octets: bytes) -> bytes:
    """One more part, or a few."""
    name = boundary_of(octets)
    at = [found.start() for found in re.finditer(rb"^--" + re.escape(name), octets, re.MULTILINE)]
    body = random.choice(CLEAR) + b"\r\n"
    kind = random.choice(TYPES)
    if b"inner" in kind:
        body = b"--inner\r\nContent-Type: text/plain\r\n\r\n" + body + b"--inner--\r\n"
    elif kind == b"message/rfc822":
        body = b"Subject: inner\r\n\r\n" + body
    fields = random.choice((b"Content-Type: " + kind + b"\r\n", b"", b"Content-Type : " + kind + b"\r\n"))
    where = random.choice(at) if at else len(octets)
    return octets[:where] + b"--" + name + b"\r\n" + fields + b"\r\n" + body + octets[where:]


def part_order(random: Random, octets: bytes) -> bytes:
    """Whole parts left out, doubled, in another order; the last boundary counts as one."""
    at = [
        found.start() for found in re.finditer(rb"^--" + re.escape(boundary_of(octets)), octets, re.MULTILINE)
    ]
    if not at:
        return octets
    pieces = [octets[begin:end] for begin, end in zip(at, [*at[1:], len(octets)], strict=True)]
    chosen = random.choices(pieces, k=random.randrange(len(pieces) + 2))
    return octets[: at[0]] + b"".join(chosen if random.random() < 0.5 else [*chosen, pieces[-1]])


MUTATIONS: tuple[Mutation, ...] = (
    text,
    noise,
    line_order,
    line_end,
    all_line_ends,
    boundary_line,
    part,
    part_order,
    field_mutations.header_field,
    field_mutations.boundary_parameter,
    field_mutations.content_type,
    field_mutations.transfer_encoding,
    field_mutations.encoding_name,
    packet_mutations.armor_line,
    packet_mutations.armor_text,
    packet_mutations.packet,
    packet_mutations.packet,
    packet_mutations.raw_packets,
)
