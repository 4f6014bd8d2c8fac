"""Messages made to keep the gate busy cost work in proportion to their size, and bounded memory.

A flood is a few octets over and over, with something before and after. Work is counted (`tests.work`), of a
flood and of one four times as long.
"""

from __future__ import annotations

import base64
import contextlib
import io
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from chatmail_milter.gate import mime_fields
from chatmail_milter.gate.gate import Direction, Envelope, Gate
from chatmail_milter.gate.layers import RefusedError
from chatmail_milter.gate.message import read
from tests import packets
from tests.chat.deadline import deadline
from tests.messages import (
    ALICE,
    BOB,
    BOUNDARY,
    VERSION_PART,
    encrypted_part,
    multipart,
    part,
)
from tests.work import HANG, assert_linear, peak

ENVELOPE = Envelope(ALICE, (BOB,))
FIELDS = [(b"Content-Type", f'multipart/encrypted; boundary="{BOUNDARY}"'.encode())]
SEALED = packets.pkesk() + packets.seipd()
GOOD = multipart([VERSION_PART, encrypted_part(packets.armored(SEALED))]).encode()

MIB = 1 << 20
BLOCK = 65535  # what a milter gets at a time


@dataclass(frozen=True)
class Flood:
    """`unit` so often that it makes `size` octets; `around` has what goes before and after so many units."""

    name: str
    unit: bytes
    around: Callable[[int], tuple[bytes, bytes]]
    reason: str
    direction: Direction = Direction.OUT
    size: int = 2 * MIB
    # Octets whose work is counted: so few that the limit on packets does not end it.
    counted: int = 32 << 10

    def __str__(self) -> str:
        return self.name.replace(" ", "-")

    def body(self, size: int, chunk: int) -> Iterator[bytes]:
        """The body in chunks of at most that many octets."""
        count = size // len(self.unit)
        each = max(1, chunk // len(self.unit))
        block = self.unit * each
        before, after = self.around(count)
        for piece in (before, *[block] * (count // each), self.unit * (count % each), after):
            for at in range(0, len(piece), chunk):
                yield piece[at : at + chunk]


def fixed(before: bytes = b"", after: bytes = b"") -> Callable[[int], tuple[bytes, bytes]]:
    return lambda _: (before, after)


def in_armor(before: str, after: str) -> Callable[[int], tuple[bytes, bytes]]:
    """Around what stands in the encrypted part."""
    whole = multipart([VERSION_PART, encrypted_part(f"{before}\0{after}")]).encode()
    return fixed(*whole.split(b"\0"))


def encoded(encoding: str, before: bytes = b"", after: bytes = b"") -> Callable[[int], tuple[bytes, bytes]]:
    """Around what stands in the encrypted part, in a transfer encoding that peers may use."""
    part = encrypted_part("\0", f"Content-Transfer-Encoding: {encoding}")
    begin, end = multipart([VERSION_PART, part]).encode().split(b"\0")
    return fixed(begin + before, after + end)


def in_packets(before: bytes, after: bytes = b"") -> Callable[[int], tuple[bytes, bytes]]:
    """Around units that are Base64 of packets, or of pieces of one; three octets are four characters."""
    assert len(before) % 3 == 0
    return encoded("base64", base64.b64encode(before), base64.b64encode(after))


def base64_seipd(characters_per_unit: int, line_end: bytes = b"") -> Callable[[int], tuple[bytes, bytes]]:
    """Around units of Base64 that are the content of an SEIPD; with a line end, each character is a line."""

    def around(count: int) -> tuple[bytes, bytes]:
        before, after = in_armor(BEGUN, "\r\n" + ENDING)(0)
        octets = count * characters_per_unit // 4 * 3
        header = base64.b64encode(b"\xd2\xff" + (3 + octets).to_bytes(4, "big") + b"\x01\0\0")
        return before + in_lines(header, line_end), after

    return around


def in_lines(text: bytes, line_end: bytes) -> bytes:
    """Each character on a line."""
    return b"".join(text[at : at + 1] + line_end for at in range(len(text)))


# An SEIPD with the first of its partial lengths, the least that is legal. The marker makes it threes.
BEGUN_IN_PARTS = b"\xca\x03PGP\xd2\xe9\x01" + packets.noise(511)
# Octets of which half have the high bit, as of ciphertext about as many have, and letters of no words.
UNIT = b"gDzyQX+B"


BEGUN = "-----BEGIN PGP MESSAGE-----\r\n\r\n"
ARMOR = packets.armored(SEALED, crc=False)
ENDING = "-----END PGP MESSAGE-----\r\n"
QUOTED = ARMOR.replace("=", "=3D").encode()
SECOND = f"--{BOUNDARY}\r\n{VERSION_PART}\r\n--{BOUNDARY}\r\n".encode()
PREFIX = f"\n--{BOUNDARY}".encode()[:-1]

FLOODS = (
    Flood("white space in the preamble", b" \t\r\n", fixed(after=GOOD), "encrypted", size=8 * MIB),
    Flood("white space alone", b"\r\n", fixed(), "multipart-truncated"),
    Flood("bare CR", b"\r", fixed(), "multipart-truncated"),
    Flood("bare CR before a boundary", b"\r", fixed(after=GOOD), "preamble"),
    Flood("bare LF", b"\n", fixed(after=GOOD), "encrypted"),
    Flood("white space in the epilogue", b" \t\r\n", fixed(GOOD), "encrypted"),
    Flood("NULs", b"\0", fixed(after=GOOD), "preamble"),
    Flood("8-bit", b"\xff", fixed(after=GOOD), "preamble"),
    Flood("text and no boundary", b"Hello\r\n", fixed(), "preamble"),
    Flood("boundaries alone", f"--{BOUNDARY}\r\n".encode(), fixed(), "part-header"),
    Flood("closing boundaries", f"--{BOUNDARY}--\r\n".encode(), fixed(GOOD), "epilogue"),
    Flood("white space after a boundary", b" ", fixed(f"--{BOUNDARY}".encode(), GOOD), "preamble"),
    Flood(
        "nested multiparts",
        f"Content-Type: multipart/mixed; boundary={BOUNDARY}\r\n\r\n--{BOUNDARY}\r\n".encode(),
        fixed(SECOND, GOOD),
        "part-type",
    ),
    Flood(
        "parts without end",
        f"{part('text/plain', 'Hello')}\r\n--{BOUNDARY}\r\n".encode(),
        fixed(SECOND),
        "part-type",
    ),
    Flood("a part header without end", b"X: y\r\n", fixed(SECOND), "part-header"),
    Flood("a part header of one line", b"x", fixed(SECOND + b"X: "), "part-header"),
    Flood("a folded part header", b"\r\n x", fixed(SECOND + b"X: "), "part-header"),
    Flood("white space in the version part", b"\r\n", in_armor("", ARMOR), "encrypted"),
    Flood(
        "an armor without end",
        b"A" * 64 + b"\r\n",
        fixed(SECOND + b"Content-Type: application/octet-stream\r\n\r\n" + BEGUN.encode()),
        "packets-malformed",
    ),
    Flood("a line of Base64", UNIT, base64_seipd(8), "encrypted", size=8 * MIB),
    Flood(
        "a character a line",
        in_lines(UNIT, b"\r\n"),
        base64_seipd(8, b"\r\n"),
        "encrypted",
        counted=64 << 10,
    ),
    Flood("a character a line with LF", in_lines(UNIT, b"\n"), base64_seipd(8, b"\n"), "encrypted"),
    Flood("Base64 with bare CR", UNIT + b"\r", base64_seipd(8), "base64"),
    Flood("Base64 in lines that grow", UNIT + b"\r\n" + UNIT * 2 + b"\r\n", base64_seipd(24), "base64-lines"),
    Flood("blank lines in the Base64", b"\r\n", in_armor(BEGUN, ARMOR.removeprefix(BEGUN)), "encrypted"),
    Flood("blank lines before the armor", b"\r\n", in_armor("", ARMOR), "encrypted"),
    Flood("blank lines after the armor", b"\r\n", in_armor(ARMOR, ""), "encrypted"),
    Flood("blank lines before its end", b"\r\n", in_armor(ARMOR.removesuffix(ENDING), ENDING), "armor-lines"),
    Flood("spaces before its end", b" ", in_armor(ARMOR.removesuffix(ENDING), ENDING), "armor-line"),
    Flood(
        "armor headers", b"Comment: x\r\n", in_armor(BEGUN[:-2], ARMOR[-200:]), "armor-header", Direction.IN
    ),
    Flood("padding", b"=", in_armor(ARMOR.removesuffix(ENDING), ENDING), "armor-line"),
    Flood("padding on lines", b"=\r\n", in_armor(ARMOR.removesuffix(ENDING), ENDING), "base64"),
    Flood("NULs in the Base64", b"\0", in_armor(BEGUN, ARMOR.removeprefix(BEGUN)), "base64"),
    Flood("8-bit in the Base64", b"\xff", in_armor(BEGUN, ARMOR.removeprefix(BEGUN)), "base64"),
    Flood("dashes", b"-", in_armor("", ARMOR), "armor-line"),
    Flood("beginnings of a boundary", PREFIX, fixed(SECOND, GOOD), "content-type"),
    Flood("raw packets", b"\xd2", encoded("binary"), "armor-begin", Direction.IN),
    Flood(
        "tiny partial lengths",
        base64.b64encode(b"\xe0x\xe0\xf8" * 3),
        in_packets(BEGUN_IN_PARTS, b"\0"),
        "packets-too-many",
        Direction.IN,
    ),
    Flood(
        "as many partial lengths as pass",
        base64.b64encode((b"\xe8" + packets.noise(256)) * 3),
        in_packets(BEGUN_IN_PARTS, b"\0"),
        "encrypted",
        Direction.IN,
    ),
    Flood(
        "empty packets",
        base64.b64encode(b"\xd5\0" * 3),
        in_packets(b"", SEALED),
        "packets-too-many",
        Direction.IN,
        counted=8 << 10,
    ),
    Flood("padding after Base64", b"=", encoded("base64", base64.b64encode(SEALED)), "base64", Direction.IN),
    Flood(
        "blank lines after Base64",
        b"\r\n",
        encoded("base64", base64.b64encode(SEALED)),
        "encrypted",
        Direction.IN,
    ),
    Flood("soft line breaks", b"=\r\n", encoded("quoted-printable", b"", QUOTED), "encrypted", Direction.IN),
    Flood("quoted white space", b"=20", encoded("quoted-printable"), "quoted-printable", Direction.IN),
    Flood(
        "quoted lines",
        b"=20=\r\n",
        encoded("quoted-printable", b"", QUOTED),
        "encrypted",
        Direction.IN,
    ),
    Flood("a preamble", b"This is MIME. ", fixed(after=GOOD), "preamble"),
)

# Fields above a message that is good otherwise, so and so many octets of them.
Fields = list[tuple[bytes, bytes]]
HEADERS: dict[str, tuple[Callable[[int], Fields], str]] = {
    "Content-Types": (lambda size: FIELDS * (size // 60), "content-type"),
    "a long Content-Type": (lambda size: [typed(b"; x=" + b"y" * size)], "content-type"),
    "a folded Content-Type": (lambda size: [typed(b";\r\n x=y" * (size // 7))], "content-type"),
    "blank folds": (lambda size: [typed(b"\r\n " * (size // 3))], "content-type"),
    "RFC 2231 parameters": (lambda size: [typed(b"; x*0*=utf-8''y" * (size // 15))], "content-type"),
    "semicolons": (lambda size: [typed(b";" * size)], "content-type"),
    "backslashes in quotes": (lambda size: [typed(b'; x="' + b"\\\\" * (size // 2))], "content-type"),
    "8-bit in a Content-Type": (lambda size: [typed(b'; x="' + b"\xff" * size + b'"')], "content-type"),
    "NULs in a Content-Type": (lambda size: [typed(b"\0" * size)], "content-type"),
    "a long transfer encoding": (
        lambda size: [*FIELDS, (b"Content-Transfer-Encoding", b"7bit" + b" " * size + b"x")],
        "transfer-encoding",
    ),
    "a long subject": (lambda size: [*FIELDS, (b"Subject", b"x" * size)], "header-field"),
    "a folded subject": (lambda size: [*FIELDS, (b"Subject", b"x\r\n " * (size // 4))], "header-field"),
    "a long SecureJoin": (lambda size: [*FIELDS, (b"Secure-Join", b"x" * size)], "header-field"),
    "authors": (lambda size: [*FIELDS, *[(b"From", b"<a@a.example>")] * (size // 20)], "header-twice"),
    "other fields": (lambda size: [*FIELDS, *[(b"X", b"y")] * (size // 6)], "header-size"),
    "one long other field": (lambda size: [*FIELDS, (b"X", b"y" * size)], "header-field"),
}

headers = pytest.mark.parametrize(("build", "reason"), HEADERS.values(), ids=HEADERS)


def typed(more: bytes) -> tuple[bytes, bytes]:
    return (FIELDS[0][0], FIELDS[0][1] + more)


def answer_to_fields(fields: Fields, _: bytes = b"") -> str:
    """As the milter asks."""
    gate = Gate(Direction.OUT, ENVELOPE, fields)
    gate.feed(GOOD)
    return gate.finish().reason


def answer_to_file(_: Fields, message: bytes) -> str:
    """As `chatmailctl` asks."""
    opened = read(io.BytesIO(message))
    gate = Gate(Direction.OUT, ENVELOPE, opened.header)
    for chunk in opened.body:
        gate.feed(chunk)
    return gate.finish().reason


@pytest.mark.slow
@headers
@pytest.mark.parametrize("ask", [answer_to_fields, answer_to_file])
def test_a_flood_in_the_header_costs_as_little(
    build: Callable[[int], Fields], reason: str, ask: Callable[[Fields, bytes], str]
) -> None:
    def built(size: int) -> tuple[Fields, bytes]:
        fields = build(size)
        return fields, b"".join(name + b": " + value + b"\r\n" for name, value in fields) + b"\r\n" + GOOD

    assert ask(*built(MIB // 4)) == reason
    assert_linear(lambda size: ask(*built(size)), 32 << 10)
    sixteenth = built(MIB // 16)
    assert peak(lambda: ask(*sixteenth)) < MIB


# Of each, so many octets that what took time with their square would go on for minutes.
UNENDING = 400_000


@pytest.mark.slow
@pytest.mark.parametrize(
    "unit", [b";", b"\\a", b"; x*1=y", b";\r\n x", b" ", b"\t;", b'"', b"; x=", b"x", b"(x)", b"()", b"("]
)
@pytest.mark.parametrize("before", [b"", b'; x="', b"; x="])
@pytest.mark.parametrize("strict", [True, False], ids=["submitted", "from peers"])
def test_what_is_parsed_of_a_field_never_hangs(
    unit: bytes, before: bytes, strict: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The limits, which would keep the parser from all of this, are away.
    for limit in ("_CONTENT_TYPE_MOST", "_PARAMETERS_MOST", "_NAME_MOST"):
        monkeypatch.setattr(mime_fields, limit, sys.maxsize)
    text = FIELDS[0][1] + before + unit * (UNENDING // len(unit))
    with deadline("the field is parsed", HANG), contextlib.suppress(RefusedError):
        mime_fields.content_type([text], strict=strict)


def test_one_chunk_of_megabytes_takes_no_more_memory_than_many() -> None:
    flood = next(flood for flood in FLOODS if flood.name == "a line of Base64")
    body = b"".join(flood.body(flood.size, BLOCK))

    def ask() -> str:
        gate = Gate(Direction.OUT, ENVELOPE, FIELDS)
        gate.feed(body)
        return gate.finish().reason

    assert ask() == "encrypted"
    assert peak(ask) < MIB


floods = pytest.mark.parametrize("flood", FLOODS, ids=str)


def answer(flood: Flood, size: int, chunk: int) -> str:
    gate = Gate(flood.direction, ENVELOPE, FIELDS)
    for piece in flood.body(size, chunk):
        gate.feed(piece)
    return gate.finish().reason


@pytest.mark.slow
@floods
def test_a_flood_gets_its_verdict_and_makes_work_in_proportion(flood: Flood) -> None:
    assert answer(flood, flood.size, BLOCK) == flood.reason
    # In pieces as large as a milter gets, and in one that is as long as all of it.
    assert_linear(lambda size: answer(flood, size, 1024), flood.counted)
    assert_linear(lambda size: answer(flood, size, MIB), flood.counted)


@pytest.mark.slow
@floods
def test_in_small_pieces_too(flood: Flood) -> None:
    assert (answer(flood, 10_000, 1) == "encrypted") == (answer(flood, 10_000, BLOCK) == "encrypted")
    assert_linear(lambda size: answer(flood, size, 64), flood.counted)


@floods
def test_a_flood_takes_no_memory(flood: Flood) -> None:
    # The chunk itself, its Base64 decoded, and copies of both on the way.
    assert peak(lambda: answer(flood, flood.size // 4, BLOCK)) < MIB
