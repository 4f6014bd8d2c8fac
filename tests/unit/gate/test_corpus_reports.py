"""Mutated delivery reports that still pass the gate are reports for every other parser, too."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chatmail_milter.gate.gate import Direction, Envelope, check
from tests import reports
from tests.corpus.mutations import mutate
from tests.corpus.report_rule import READERS, is_report
from tests.corpus.trees import Reader
from tests.messages import BOB
from tests.packets import noise

ENVELOPE = Envelope("", (BOB,))


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.__name__)
@pytest.mark.parametrize("octets", reports.REAL.values(), ids=reports.REAL)
def test_real_ones_are_reports_to_all_readers(octets: bytes, reader: Reader) -> None:
    assert is_report(octets, reader)
    assert not is_report(octets.replace(b"message/", b"text/html; x="), reader)


@pytest.mark.slow
@given(st.sampled_from(list(reports.REAL.values())), st.integers(0, 2**32), st.integers(1, 4))
@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_passes_is_a_report_to_all_readers(report: bytes, chance: int, times: int) -> None:
    octets = mutate(Random(chance), report, times)  # noqa: S311 (no secret)
    if check(Direction.IN, ENVELOPE, octets).reason == "report":
        for reader in READERS:
            assert is_report(octets, reader)


@given(st.binary(max_size=400) | st.integers(0, 70_000).map(noise))
@settings(deadline=None)
def test_any_octets_get_a_verdict(body: bytes) -> None:
    head = reports.report().partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    assert check(Direction.IN, ENVELOPE, head + body).code == 523
