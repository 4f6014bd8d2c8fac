"""The rate limit of a user, 60 a minute and 10 at once, compared with a simulated token bucket."""

from __future__ import annotations

import os
import threading
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatmail_milter.processes.ratelimit import Limiter, Rate

ALICE, BOB = "alice123@a.example", "bob12345@a.example"


def limiter_of(per_minute: int, burst: int, slots: int = 1024) -> Limiter:
    return Limiter(Rate(per_minute, burst), slots)


def taken(limiter: Limiter, at: float, tries: int, key: str = ALICE) -> int:
    """How many of `tries` at one time may."""
    return sum(limiter.take(key, at) for _ in range(tries))


def test_the_burst_is_exact_and_then_it_is_one_a_second() -> None:
    limiter = limiter_of(60, 10)
    assert taken(limiter, 1000.0, 25) == 10
    assert not limiter.take(ALICE, 1000.999)
    for second in range(1, 100):
        assert taken(limiter, 1000.0 + second, 3) == 1


def test_after_a_pause_as_many_may_as_seconds_have_passed_and_never_more_than_the_burst() -> None:
    limiter = limiter_of(60, 10)
    assert taken(limiter, 1000.0, 10) == 10
    assert taken(limiter, 1004.0, 25) == 4
    assert taken(limiter, 1100.0, 25) == 10


def test_whoever_is_refused_has_lost_nothing() -> None:
    limiter = limiter_of(60, 1)
    assert limiter.take(ALICE, 5.0)
    assert taken(limiter, 5.5, 1000) == 0
    assert limiter.take(ALICE, 6.0)


def test_each_has_a_rate_of_its_own() -> None:
    limiter = limiter_of(60, 10)
    assert taken(limiter, 1.0, 11, ALICE) == 10
    assert taken(limiter, 1.0, 11, BOB) == 10


def test_nought_a_minute_is_no_limit() -> None:
    assert taken(limiter_of(0, 1), 1.0, 1000) == 1000


def test_what_is_charged_is_never_refused_and_is_waited_for() -> None:
    limiter = limiter_of(60, 10)
    for _ in range(25):
        limiter.charge(ALICE, 1000.0)
    assert not limiter.may(ALICE, 1015.999)
    assert limiter.may(ALICE, 1016.0)
    assert limiter.may(BOB, 1000.0)


def test_who_only_asks_takes_nothing() -> None:
    limiter = limiter_of(60, 1)
    assert all(limiter.may(ALICE, 5.0) for _ in range(10))
    assert limiter.take(ALICE, 5.0)
    assert not limiter.may(ALICE, 5.0)


def test_nought_a_minute_charges_nothing() -> None:
    limiter = limiter_of(0, 1)
    limiter.charge(ALICE, 1.0)
    assert limiter.may(ALICE, 1.0)
    assert limiter.take(ALICE, 1.0)


@pytest.mark.parametrize(("per_minute", "burst"), [(-1, 10), (60, 0), (60, -1)])
def test_what_is_no_rate(per_minute: int, burst: int) -> None:
    with pytest.raises(ValueError, match="burst of 1 or more"):
        Rate(per_minute, burst)


class Bucket:
    """The naive model: tokens drip in at the rate, up to the burst; who takes one needs a whole one."""

    def __init__(self, per_minute: int, burst: int) -> None:
        self.rate, self.burst = Fraction(per_minute, 60), burst
        self.tokens, self.at = Fraction(burst), Fraction(0)

    def take(self, now: Fraction) -> bool:
        self.tokens = min(Fraction(self.burst), self.tokens + (now - self.at) * self.rate)
        self.at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


rates = st.integers(1, 1000)
bursts = st.integers(1, 20)
# Milliseconds between one try and the next: many at once, many on the second, some long pauses.
pauses = st.one_of(
    st.just(0), st.sampled_from([1000, 999, 1001, 60_000]), st.integers(0, 5000), st.integers(0, 100_000)
)
tries = st.lists(st.tuples(pauses, st.sampled_from([ALICE, BOB])), max_size=200)


@given(per_minute=rates, burst=bursts, tries=tries)
def test_it_lets_by_whom_a_bucket_would(per_minute: int, burst: int, tries: list[tuple[int, str]]) -> None:
    limiter = limiter_of(per_minute, burst)
    buckets = {key: Bucket(per_minute, burst) for key in (ALICE, BOB)}
    milliseconds = 0
    for pause, key in tries:
        milliseconds += pause
        allowed = limiter.take(key, milliseconds / 1000)
        assert allowed is buckets[key].take(Fraction(milliseconds, 1000)), f"at {milliseconds} ms"


@given(per_minute=rates, burst=bursts, pauses=st.lists(pauses, min_size=1, max_size=200))
def test_in_any_span_of_time_it_is_the_burst_and_the_rate_at_most(
    per_minute: int, burst: int, pauses: list[int]
) -> None:
    limiter = limiter_of(per_minute, burst)
    allowed, milliseconds = [], 0
    for pause in pauses:
        milliseconds += pause
        if limiter.take(ALICE, milliseconds / 1000):
            allowed.append(milliseconds)
    for first in range(len(allowed)):
        for last in range(first, len(allowed)):
            span = Fraction(allowed[last] - allowed[first], 60_000)
            assert last - first + 1 <= burst + span * per_minute


def test_of_threads_that_ask_at_once_as_many_may_as_the_burst() -> None:
    limiter = limiter_of(60, 10)
    barrier = threading.Barrier(8)
    allowed: list[bool] = []

    def ask() -> None:
        barrier.wait()
        allowed.extend(limiter.take(ALICE, 7.0) for _ in range(50))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(allowed), sum(allowed)) == (400, 10)


def test_processes_share_what_was_taken() -> None:
    limiter = limiter_of(60, 10)
    assert taken(limiter, 7.0, 3) == 3
    reads, writes = os.pipe()
    child = os.fork()
    if not child:
        os.write(writes, bytes([taken(limiter, 7.0, 5)]))
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert os.read(reads, 1) == bytes([5])
    assert taken(limiter, 7.0, 25) == 2


def test_who_is_idle_is_forgotten() -> None:
    limiter = Limiter(Rate(60, 10))
    for number in range(10_000):
        limiter.take(f"u{number}@a.example", 1.0 + number / 10_000)
    assert limiter.remembered(1.9999) == 10_000
    assert limiter.remembered(2.5) < 5_001
    assert limiter.remembered(3.0) == 0


@pytest.mark.slow
def test_a_hundred_thousand_who_send_at_once_are_each_held_to_their_rate() -> None:
    limiter = Limiter(Rate(60, 1))
    users = [f"u{number}@a.example" for number in range(100_000)]
    assert all(limiter.take(user, 1.0) for user in users)
    # Less than one in a hundred is forgotten, where nine fall into one set of eight.
    assert sum(limiter.take(user, 1.0) for user in users) < 1000


def test_a_full_table_forgets_who_waits_least_and_never_refuses_a_newcomer() -> None:
    limiter = limiter_of(60, 3, slots=8)
    busy = [f"busy{number}@a.example" for number in range(7)]
    for user in busy:
        assert taken(limiter, 1.0, 3, user) == 3
    for number in range(100):
        assert limiter.take(f"new{number}@a.example", 1.0)
    assert sum(limiter.take(user, 1.0) for user in busy) == 0
