"""The order of packets in a message (RFC 9580, 4, 5 and 10.3)."""

from __future__ import annotations

import pytest

from chatmail_milter.gate.layers import RefusedError
from chatmail_milter.gate.packets import Packets
from tests import packets as p
from tests.work import work

SEALED = p.pkesk() + p.seipd()


def walk(octets: bytes, chunk: int | None = None) -> str:
    """`pass`, or the reason of the refusal."""
    walker = Packets()
    try:
        for at in range(0, len(octets), chunk or len(octets) or 1):
            walker.feed(octets[at : at + (chunk or len(octets))])
        walker.finish()
    except RefusedError as refusal:
        return refusal.reason
    return "pass"


@pytest.mark.parametrize(
    "octets",
    [
        p.seipd(),
        p.seipd(version=2),
        *(p.pkesk(version) + p.seipd() for version in (3, 6)),
        *(p.skesk(version) + p.seipd() for version in (4, 5, 6)),
        p.pkesk() * 1000 + p.skesk() + p.pkesk(6) + p.seipd(2),
        p.new(p.MARKER, b"PGP") + SEALED,
        p.new(p.PADDING, p.noise(30)) + SEALED,
        p.pkesk() + p.new(p.PADDING, b"") + p.seipd(),
        *(p.pkesk() + p.new(p.SEIPD, b"\x01" + p.noise(100), length_octets=octets) for octets in (1, 5)),
        p.new(p.SEIPD, b"\x01" + p.noise(8000), length_octets=2),
        *(p.legacy(p.PKESK, b"\x03" + p.noise(94), kind) + p.seipd() for kind in (0, 1, 2)),
        *(p.partial(p.SEIPD, b"\x01" + p.noise(70_000), power) for power in (9, 10, 13, 16)),
    ],
)
def test_passes_an_encrypted_message(octets: bytes) -> None:
    assert walk(octets) == "pass"
    assert walk(octets, 1) == "pass"


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        (b"", "packets-no-seipd"),
        (p.pkesk(), "packets-no-seipd"),
        (p.new(p.MARKER, b"PGP"), "packets-no-seipd"),
        (SEALED + p.seipd(), "packets-after-seipd"),
        (SEALED + p.new(p.PADDING, b"x"), "packets-after-seipd"),
        (SEALED + b"\n", "packets-after-seipd"),
        (SEALED[:-1], "packets-truncated"),
        (p.pkesk()[:-1], "packets-truncated"),
        (SEALED[: len(p.pkesk()) + 1], "packets-truncated"),
        (p.partial(p.SEIPD, b"\x01" + p.noise(1023), 10)[:-5], "packets-truncated"),
        (b"Hello", "packets-malformed"),
        (p.new(p.LITERAL, b"b\0\0\0\0\0Hello"), "packets-tag-11"),
        (p.pkesk() + p.new(p.LITERAL, b"b\0\0\0\0\0Hello"), "packets-tag-11"),
        (p.new(p.COMPRESSED, b"\x01" + p.noise(30)), "packets-tag-8"),
        (p.new(p.SIGNATURE, b"\x04" + p.noise(30)) + SEALED, "packets-tag-2"),
        (p.pkesk() + p.new(p.SED, p.noise(30)), "packets-tag-9"),
        (p.pkesk() + p.new(p.AEAD, b"\x01" + p.noise(30)), "packets-tag-20"),
        (p.new(0, b"") + SEALED, "packets-tag-0"),
        (p.new(63, b"") + SEALED, "packets-tag-63"),
        (p.pkesk(4) + p.seipd(), "packets-version-1"),
        (p.skesk(3) + p.seipd(), "packets-version-3"),
        (p.pkesk() + p.seipd(version=3), "packets-version-18"),
        (p.new(p.PKESK, b"") + p.seipd(), "packets-version-1"),
        (p.new(p.SEIPD, b""), "packets-version-18"),
        (p.new(p.MARKER, b"Hello") + SEALED, "packets-version-10"),
        (p.new(p.MARKER, b"PGP, hello") + SEALED, "packets-marker"),
        (p.new(p.MARKER, b"PG") + SEALED, "packets-version-10"),
        (p.legacy(p.PKESK, b"\x03" + p.noise(94), 3), "packets-indeterminate"),
        (p.partial(p.PKESK, b"\x03" + p.noise(1000), 9) + p.seipd(), "packets-partial"),
        # RFC 9580, 4.2.1.4: at least 512 octets first.
        (p.partial(p.SEIPD, b"\x01" + p.noise(1000), 8), "packets-partial"),
    ],
)
def test_refuses_everything_else(octets: bytes, reason: str) -> None:
    assert walk(octets) == reason
    assert walk(octets, 1) == reason


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "unit", "after"),
    [
        (p.new(p.MARKER, b"PGP") + b"\xd2\xe9\x01" + p.noise(511), b"\xe0x\xe0\xf8", b"\0"),
        (b"", p.new(p.PADDING, b""), SEALED),
        (b"", p.new(p.MARKER, b"PGP"), SEALED),
        (b"", p.skesk(), SEALED),
    ],
    ids=["one-octet partial lengths", "empty packets", "markers", "passwords"],
)
def test_a_flood_of_tiny_packets_is_refused_before_it_costs_anything(
    before: bytes, unit: bytes, after: bytes
) -> None:
    flood = before + unit * 400_000 + after
    assert walk(flood) == "packets-too-many"
    # Whatever follows, not one packet more is looked at.
    twice = before + unit * 800_000 + after
    assert work(lambda: walk(twice)) <= work(lambda: walk(flood)) + 4 * (len(twice) - len(flood))


def test_a_length_that_lies_about_four_gigabytes_is_truncated() -> None:
    assert walk(b"\xd2\xff\xff\xff\xff\xff\x01" + p.noise(100)) == "packets-truncated"
