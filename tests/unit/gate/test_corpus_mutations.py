"""Mutated samples that still pass the gate are encrypted for every other parser, too."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatmail_milter.gate.gate import Direction, Envelope, check
from tests.corpus import ENCRYPTED, NONE, SECURE_JOIN, Sample, committed, rule
from tests.corpus.mutations import mutate

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
