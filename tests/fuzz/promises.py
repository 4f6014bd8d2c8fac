"""What must hold of the gate whatever the message. Raises `AssertionError` with what didn't."""

from __future__ import annotations

import io
import zlib
from random import Random

from chatmail_milter.gate.gate import Direction, Envelope, Gate, Kind
from chatmail_milter.gate.message import read
from tests.corpus import ALICE, BOB, rule

_ENVELOPE = Envelope(ALICE, (BOB,))
_CUTS_MOST = 12


def check(octets: bytes) -> None:
    """Both promises, in both directions."""
    opened = read(io.BytesIO(octets))
    body = b"".join(opened.body)
    for direction in Direction:
        kind = _kind(direction, opened.fields, [body])
        pieces = _pieces(body, Random(zlib.crc32(octets)))  # noqa: S311 (it hides nothing)
        again = _kind(direction, opened.fields, pieces)
        assert again is kind, (
            f"{direction}: {kind} in one piece, {again} in pieces of {[len(p) for p in pieces]}"
        )
        if kind in (Kind.ENCRYPTED, Kind.SECURE_JOIN):
            for reader in rule.READERS:
                seen = rule.kind(direction.value, octets, reader)
                assert seen == kind.value, f"{direction}: {kind} to the gate, {seen} to {reader.__name__}"


def _kind(direction: Direction, fields: tuple[tuple[bytes, bytes], ...], pieces: list[bytes]) -> Kind:
    gate = Gate(direction, _ENVELOPE, fields)
    for piece in pieces:
        gate.feed(piece)
    return gate.finish().kind


def _pieces(body: bytes, random: Random) -> list[bytes]:
    """The body cut somewhere; octet by octet if it is short, now and then."""
    if len(body) < 2000 and random.random() < 0.2:
        return [body[at : at + 1] for at in range(len(body))]
    cuts = sorted(random.randrange(len(body) + 1) for _ in range(random.randrange(1, _CUTS_MOST)))
    return [body[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(body)], strict=True)]
