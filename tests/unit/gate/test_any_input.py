"""Properties for any input: a verdict for each, equal for any chunks; all that Delta Chat writes passes."""

from __future__ import annotations

import io
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatmail_milter.gate.gate import Direction, Envelope, Gate, Kind, check
from chatmail_milter.gate.message import read
from tests import messages, packets
from tests.corpus import committed, grammar
from tests.corpus.mutations import mutate
from tests.messages import ALICE, BOB

ENVELOPE = Envelope(ALICE, (BOB,))
SEEDS = (
    messages.secure_join(),
    messages.report(),
    messages.setup_message(),
    messages.sealed(packets.pkesk() + packets.partial(packets.SEIPD, b"\x01" + packets.noise(3000), 9)),
    *(sample.octets for sample in committed() if len(sample.octets) < 4000),
)

directions = st.sampled_from(Direction)


def classify(direction: Direction, octets: bytes, cuts: list[int]) -> Kind:
    """What the gate says when the body comes in pieces that end at `cuts`."""
    opened = read(io.BytesIO(octets))
    gate = Gate(direction, ENVELOPE, opened.fields)
    body = b"".join(opened.body)
    ends = sorted({min(cut, len(body)) for cut in cuts} | {len(body)})
    begin = 0
    for end in ends:
        gate.feed(body[begin:end])
        begin = end
    return gate.finish().kind


# Chance in one number: the shortest example of a fault is not the mutation's smallest, but found sooner.
@st.composite
def mutated(draw: st.DrawFn, most: int = 3) -> bytes:
    """A real message, spoilt in a few places."""
    octets = draw(st.sampled_from(SEEDS))
    return mutate(Random(draw(st.integers(0, 2**32))), octets, draw(st.integers(0, most)))  # noqa: S311


@pytest.mark.slow
@given(directions, mutated(), st.lists(st.integers(0, 5000), max_size=30))
@settings(max_examples=500)
def test_chunks_never_change_the_verdict(direction: Direction, octets: bytes, cuts: list[int]) -> None:
    assert classify(direction, octets, cuts) is classify(direction, octets, [])


@given(directions, mutated(1), st.integers(1, 3))
@settings(max_examples=60)
def test_not_even_octet_by_octet(direction: Direction, octets: bytes, step: int) -> None:
    every = list(range(0, len(octets), step))
    assert classify(direction, octets, every) is classify(direction, octets, [])


@pytest.mark.slow
@given(directions, st.one_of(st.binary(max_size=400), mutated(8)))
@settings(max_examples=400)
def test_any_octets_get_an_answer(direction: Direction, octets: bytes) -> None:
    assert check(direction, ENVELOPE, octets).code in (250, 523)


@pytest.mark.slow
@given(directions, grammar.encrypted(), st.lists(st.integers(0, 5000), max_size=5))
@settings(max_examples=200)
def test_whatever_delta_chat_encrypts_passes(direction: Direction, octets: bytes, cuts: list[int]) -> None:
    assert classify(direction, octets, cuts) is Kind.ENCRYPTED


@given(directions, grammar.secure_join(), st.lists(st.integers(0, 2000), max_size=5))
@settings(max_examples=100)
def test_its_first_step_of_securejoin_passes(direction: Direction, octets: bytes, cuts: list[int]) -> None:
    assert classify(direction, octets, cuts) is Kind.SECURE_JOIN
