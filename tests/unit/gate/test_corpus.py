"""Samples of real programs: the gate's verdict is what the program made, and other parsers agree.

Mutated samples that still pass the gate are encrypted for every other parser, too.
"""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatmail_milter.gate.gate import Direction, Envelope, Kind, check
from tests.corpus import ENCRYPTED, NONE, SECURE_JOIN, Sample, committed, rule, samples
from tests.corpus.mutations import mutate
from tests.corpus.trees import Reader

REASON = {Kind.ENCRYPTED.value, Kind.SECURE_JOIN.value, Kind.REPORT.value, Kind.SETUP.value}

each_sample = pytest.mark.parametrize("sample", samples(), ids=str)
each_direction = pytest.mark.parametrize("direction", Direction, ids=lambda direction: direction.value)


def expected(sample: Sample, direction: Direction) -> str:
    return sample.incoming if direction is Direction.IN else sample.outgoing


@each_direction
@each_sample
def test_the_gate_says_what_the_maker_does(sample: Sample, direction: Direction) -> None:
    verdict = check(direction, Envelope(sender=sample.sender, recipients=sample.recipients), sample.octets)
    found = verdict.reason if verdict.reason in REASON else Kind.NONE.value
    assert found == expected(sample, direction), verdict.reason


@pytest.mark.slow
@each_direction
@each_sample
@pytest.mark.parametrize("reader", rule.READERS, ids=lambda reader: reader.__name__)
def test_other_parsers_say_the_same(sample: Sample, direction: Direction, reader: Reader) -> None:
    assert rule.kind(direction.value, sample.octets, reader) == expected(sample, direction)


def test_every_program_and_every_promise_has_samples() -> None:
    everything = committed()
    rooms = {sample.name.partition("/")[0] for sample in everything}
    assert rooms == {"core", "gnupg", "pgpy", "sequoia"}
    for room in rooms - {"core"}:
        kinds = {sample.incoming for sample in everything if sample.name.startswith(room)}
        assert kinds == {"encrypted", "none"}
    assert {sample.incoming for sample in everything} == {"encrypted", "securejoin", "none"}


PASSING = [sample for sample in committed() if sample.incoming != NONE and len(sample.octets) < 8000]


@pytest.mark.slow
@given(st.sampled_from(Direction), st.sampled_from(PASSING), st.integers(0, 2**32), st.integers(1, 4))
@settings(max_examples=600)
def test_what_passes_is_encrypted_to_all_readers(
    direction: Direction, sample: Sample, chance: int, times: int
) -> None:
    octets = mutate(Random(chance), sample.octets, times)  # noqa: S311 (no secret)
    found = check(direction, Envelope(sample.sender, sample.recipients), octets).reason
    if found in (ENCRYPTED, SECURE_JOIN):
        for reader in rule.READERS:
            assert rule.kind(direction.value, octets, reader) == found
