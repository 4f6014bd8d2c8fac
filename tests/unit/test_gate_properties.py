"""Two promises about any input: chunks don't matter, and nothing readable passes."""

from __future__ import annotations

import io

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chatmail_milter.gate.gate import Classification, Direction, Envelope, Gate, Kind, check
from chatmail_milter.gate.message import read
from tests import messages, packets
from tests.messages import (
    ALICE,
    BOB,
    BOUNDARY,
    VERSION_PART,
    encrypted_part,
    envelope_fields,
    message,
    multipart,
    part,
)

ENVELOPE = Envelope(ALICE, (BOB,))
SEALED = packets.pkesk() + packets.seipd()
ARMOR = packets.armored(SEALED)
HEADER = [*envelope_fields(), ("Content-Type", f'multipart/encrypted; boundary="{BOUNDARY}"')]
SEEDS = (
    messages.sealed(SEALED),
    messages.sealed(packets.partial(packets.SEIPD, b"\x01" + packets.noise(3000), 9)),
    messages.sealed(SEALED, headers=("Version: x",), crc=False),
    messages.secure_join(),
    messages.report(),
)

directions = st.sampled_from(Direction)


def classify(direction: Direction, octets: bytes, cuts: list[int]) -> Classification:
    opened = read(io.BytesIO(octets))
    gate = Gate(direction, ENVELOPE, opened.fields)
    body = b"".join(opened.body)
    ends = sorted({min(cut, len(body)) for cut in cuts} | {len(body)})
    begin = 0
    for end in ends:
        gate.feed(body[begin:end])
        begin = end
    return gate.finish()


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A message that would pass, with a few octets of it replaced, taken out or put in."""
    octets = draw(st.sampled_from(SEEDS))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(octets)))
        gone = draw(st.integers(0, 3))
        put_in = draw(
            st.sampled_from([b"", b"\r", b"\n", b"\0", b"=", b"-", b" ", b"\xff", b"--" + BOUNDARY.encode()])
        )
        octets = octets[:at] + put_in + octets[at + gone :]
    return octets


@given(directions, mutated(), st.lists(st.integers(0, 4000), max_size=30))
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
def test_chunks_never_change_the_verdict(direction: Direction, octets: bytes, cuts: list[int]) -> None:
    assert classify(direction, octets, cuts).kind is classify(direction, octets, []).kind


@given(directions, mutated())
@settings(max_examples=30, deadline=None)
def test_not_even_octet_by_octet(direction: Direction, octets: bytes) -> None:
    every = list(range(len(octets)))
    assert classify(direction, octets, every).kind is classify(direction, octets, []).kind


# Text that is not white space, and that isn't Base64 either: somebody could read it.
clear_text = st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=80).filter(
    lambda text: any(c not in " \t" and not (c.isascii() and c.isalnum()) and c not in "+/=" for c in text)
)


@given(directions, clear_text, st.integers(0, len(ARMOR)))
@settings(max_examples=300)
def test_text_inside_the_armor_never_passes(direction: Direction, text: str, at: int) -> None:
    body = multipart([VERSION_PART, encrypted_part(ARMOR[:at] + text + ARMOR[at:])])
    found = classify(direction, message(HEADER, body), [])
    # Comments are the one thing that peers may write there.
    comment = text.startswith(("Version: ", "Comment: "))
    assert found.kind is Kind.NONE or (comment and direction is Direction.IN)


@given(
    directions, clear_text, st.sampled_from(["preamble", "epilogue", "first", "between", "last", "version"])
)
@settings(max_examples=300)
def test_text_around_the_armor_never_passes(direction: Direction, text: str, place: str) -> None:
    parts = [VERSION_PART, encrypted_part(ARMOR)]
    around = {}
    if place in ("preamble", "epilogue"):
        around = {place: text + "\r\n"}
    elif place == "version":
        parts[0] = part("application/pgp-encrypted", "Version: 1\r\n" + text)
    else:
        parts.insert({"first": 0, "between": 1, "last": 2}[place], part("text/plain", text))
    assert classify(direction, message(HEADER, multipart(parts, **around)), []).kind is Kind.NONE


@given(directions, st.binary(max_size=400))
@settings(max_examples=200)
def test_any_octets_get_an_answer(direction: Direction, octets: bytes) -> None:
    assert check(direction, ENVELOPE, octets).code in (250, 523)


@given(
    st.integers(1, 5), st.integers(0, 3), st.sampled_from([1, 2]), st.integers(9, 12), st.integers(600, 9000)
)
@settings(max_examples=100)
def test_every_shape_of_encrypted_message_passes(
    keys: int, words: int, version: int, power: int, size: int
) -> None:
    octets = packets.pkesk() * keys + packets.skesk() * words
    octets += packets.partial(
        packets.SEIPD, bytes((version,)) + packets.noise(size), min(power, size.bit_length() - 1)
    )
    for direction in Direction:
        assert classify(direction, messages.sealed(octets, width=64), []).kind is Kind.ENCRYPTED
