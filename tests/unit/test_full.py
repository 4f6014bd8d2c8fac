"""A mailbox that fills up: which messages go, and which may not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatmail_milter.mailboxes.doveadm import Message
from chatmail_milter.rules import full

NOW = 1_800_000_000
DAY = 86400
LIMIT = 1000


def message(uid: int, octets: int, age: float) -> Message:
    return Message("u@a.test", "inbox", uid, octets, int(NOW - age))


@pytest.mark.parametrize(
    ("used", "limit", "is_filling_up"),
    [(749, 1000, False), (750, 1000, True), (1200, 1000, True), (0, 1000, False), (10**12, 0, False)],
)
def test_it_begins_at_75_percent(used: int, limit: int, is_filling_up: bool) -> None:
    assert full.is_filling_up(used, limit) is is_filling_up


def test_the_oldest_go_first_in_whatever_order_they_are_told_and_down_to_70_percent() -> None:
    messages = [message(uid, 50, days * DAY) for uid, days in ((1, 3), (2, 9), (3, 5), (4, 2))]
    assert [one.uid for one in full.oldest(messages, 800, LIMIT, NOW)] == [2, 3]


def test_no_more_go_than_it_takes() -> None:
    messages = [message(1, 500, 9 * DAY), message(2, 500, 8 * DAY)]
    assert [one.uid for one in full.oldest(messages, 1000, LIMIT, NOW)] == [1]
    assert full.oldest(messages, 700, LIMIT, NOW) == []


def test_the_last_24_hours_stay_however_full_it_is() -> None:
    messages = [message(1, 500, DAY - 1), message(2, 500, DAY), message(3, 500, 0)]
    assert [one.uid for one in full.oldest(messages, 1500, LIMIT, NOW)] == [2]


mail = st.lists(
    st.tuples(st.integers(0, 400), st.integers(0, 40 * DAY)).map(lambda pair: pair), max_size=30
).map(lambda pairs: [message(uid, octets, age) for uid, (octets, age) in enumerate(pairs, 1)])


@given(mail)
def test_what_stays_is_newer_than_what_goes_and_fits_or_is_of_the_last_day(messages: list[Message]) -> None:
    used = sum(one.octets for one in messages)
    go = full.oldest(messages, used, LIMIT, NOW)
    stay = [one for one in messages if one not in go]
    assert all(one.received <= NOW - DAY for one in go)
    assert all(gone.received <= kept.received for gone in go for kept in stay)
    left = sum(one.octets for one in stay)
    assert left <= 700 or all(one.received > NOW - DAY for one in stay)
    # Without the last that went it would not have fitted.
    assert not go or left + go[-1].octets > 700
    # Two at once choose the same; one after the other finds nothing more.
    assert full.oldest(messages, used, LIMIT, NOW) == go
    assert full.oldest(stay, left, LIMIT, NOW) == []
