"""Quantiles from buckets are near those of the samples."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatmail_milter.store.contacts import bucket, quantile

LATENCIES = st.floats(min_value=0.0001, max_value=4000)


def nearest_rank(samples: list[float], share: float) -> float:
    return sorted(samples)[math.ceil(share * len(samples)) - 1]


@given(st.lists(LATENCIES, min_size=1, max_size=200), st.sampled_from([0.5, 0.95, 1.0]))
def test_a_quantile_is_within_9_1_percent(samples: list[float], share: float) -> None:
    found = quantile(Counter(map(bucket, samples)), share)
    assert found == pytest.approx(nearest_rank(samples, share), rel=0.0911)


@given(st.lists(LATENCIES, min_size=1), st.lists(LATENCIES, min_size=1))
def test_merging_is_adding(some: list[float], others: list[float]) -> None:
    apart = Counter(map(bucket, some)) + Counter(map(bucket, others))
    assert quantile(apart, 0.95) == quantile(Counter(map(bucket, some + others)), 0.95)


@given(st.floats(min_value=-10, max_value=1e9))
def test_there_are_105_buckets_and_no_more(seconds: float) -> None:
    assert -56 <= bucket(seconds) <= 48


def test_buckets_end_where_they_should() -> None:
    assert [bucket(seconds) for seconds in (1.0, 1.0001, 1.19, 2.0, 0.0, 1e-9, 1e9)] == [
        0, 1, 2, 4, -56, -56, 48,
    ]  # fmt: skip


def test_nothing_has_no_quantile() -> None:
    assert quantile({}, 0.5) is None
    assert quantile({3: 0}, 0.5) is None
