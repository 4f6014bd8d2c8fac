"""A mailbox that becomes full: which messages are deleted, and which never."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from chatmail_milter.mailboxes.doveadm import StoredMessage
from chatmail_milter.rules import full_mailbox

NOW = 1_800_000_000
DAY = 86400
LIMIT = 1000


def message(
    uid: int, octets: int, age: float, sender: str = "friend@b.test", *, seen: bool = False
) -> StoredMessage:
    return StoredMessage("u@a.test", "inbox", uid, octets, int(NOW - age), seen, sender)


def octets(messages: Iterable[StoredMessage]) -> int:
    return sum(one.octets for one in messages)


def leaving(messages: Iterable[StoredMessage]) -> list[StoredMessage]:
    return full_mailbox.leaving(list(messages), LIMIT, NOW)


def flood(
    total: int, sender: str = "x@evil.test", *, each: int = 10, first: int = 1000
) -> list[StoredMessage]:
    """So much unread mail, in the last minutes."""
    return [
        message(first + n, each, (total // each - n) / 10, sender.format(n)) for n in range(total // each)
    ]


@pytest.mark.parametrize(
    ("used", "limit", "is_filling_up"),
    [(749, 1000, False), (750, 1000, True), (1200, 1000, True), (0, 1000, False), (10**12, 0, False)],
)
def test_it_begins_at_75_percent(used: int, limit: int, is_filling_up: bool) -> None:
    assert full_mailbox.is_filling_up(used, limit) is is_filling_up


@pytest.mark.parametrize(
    ("fields", "sender"),
    [
        ("Friend <Friend@B.test>", "friend@b.test"),
        ('"a, b"\n\t<friend@b.test>', "friend@b.test"),
        ("u@1.2.3.4", "u@[1.2.3.4]"),
        ("x@evil.test\ny@b.test", ""),
        ("x@evil.test, y@b.test", ""),
        ("\udcff <x@evil.test>", "x@evil.test"),
        ("", ""),
    ],
)
def test_a_sender_is_the_one_address_in_the_one_from_field(fields: str, sender: str) -> None:
    assert full_mailbox.sender(fields) == sender


class TestRead:
    def test_the_oldest_go_first_in_whatever_order_they_are_told_and_down_to_70_percent(self) -> None:
        days = ((1, 3), (2, 9), (3, 5), (4, 2))
        messages = [message(uid, 50, age * DAY, seen=True) for uid, age in days]
        assert [one.uid for one in leaving([*messages, message(5, 600, 0)])] == [2, 3]

    def test_no_more_go_than_it_takes(self) -> None:
        messages = [message(1, 500, 9 * DAY, seen=True), message(2, 500, 8 * DAY, seen=True)]
        assert [one.uid for one in leaving(messages)] == [1]
        assert leaving([message(1, 700, 9 * DAY, seen=True)]) == []

    def test_they_go_before_any_unread_and_not_within_24_hours(self) -> None:
        read = [
            message(1, 300, DAY, "self@a.test", seen=True),
            message(2, 100, DAY - 1, "a@a.test", seen=True),
        ]
        assert [one.uid for one in leaving([*read, *flood(400)])] == [1]
        assert {one.sender for one in leaving([read[1], *flood(900)])} == {"x@evil.test"}


class TestUnread:
    @pytest.mark.parametrize("age", [9 * DAY, DAY - 1, 3600])
    @pytest.mark.parametrize("friends", [10, 300, 500, 600])
    def test_a_flood_costs_no_friend_anything(self, friends: int, age: float) -> None:
        kept = [message(n, 10, age) for n in range(friends // 10)]
        go = leaving([*kept, *flood(1000 - friends)])
        assert {one.sender for one in go} == {"x@evil.test"}
        assert octets(go) == 300

    def test_one_who_writes_meanwhile_loses_nothing_either(self) -> None:
        friends = [message(5, 10, 1, "f@b.test"), message(6, 20, 0, "g@c.test")]
        assert {one.sender for one in leaving([*flood(960), *friends])} == {"x@evil.test"}

    def test_of_the_flood_the_oldest_go(self) -> None:
        assert [one.uid for one in leaving(flood(800))] == list(range(1000, 1010))

    @pytest.mark.parametrize("sender", ["x{}@evil.test", "x{}@b.test"])
    def test_a_domain_of_many_addresses_is_one_and_within_it_each_counts(self, sender: str) -> None:
        friends = [message(n, 10, 2 * DAY, f"f{n}@c.test") for n in range(30)]
        one_address = [message(900 + n, 10, 5, "single@b.test") for n in range(2)]
        go = leaving([*friends, *flood(640, sender), *one_address])
        # Of many that have sent alike, those with the most mail.
        assert not {one.sender for one in go} & {one.sender for one in [*friends]}
        assert octets(go) == 260
        if sender.endswith("evil.test"):
            assert not {one.sender for one in go} & {"single@b.test"}

    def test_an_address_loses_before_others_of_its_domain(self) -> None:
        friends = [message(n, 10, 60, f"f{n}@b.test") for n in range(20)]
        assert {one.sender for one in leaving([*friends, *flood(600, "x@b.test")])} == {"x@b.test"}

    def test_who_filled_it_long_ago_makes_room_for_others(self) -> None:
        squatter = [message(n, 10, 2 * DAY, "x@evil.test") for n in range(74)]
        friends = [message(900 + n, 40, 0, f"f@{n}.test") for n in range(3)]
        assert leaving([*squatter, *friends[:2]]) == []
        assert [one.sender for one in leaving([*squatter, *friends])] == ["x@evil.test"]

    @pytest.mark.parametrize(("domains", "room"), [(1, 300), (10, 150), (20, 130), (30, 89), (100, 28)])
    def test_room_is_left_beside_many_domains(self, domains: int, room: int) -> None:
        every = [
            message(n * 1000 + m, 1, domains - n, f"x@evil{n}.test")
            for n in range(domains)
            for m in range(1000 // domains)
        ]
        assert octets(leaving(every)) >= room

    def test_without_room_for_a_share_nobody_within_it_loses(self) -> None:
        messages = [message(n, 15, 100 - n, f"x@{n}.test") for n in range(60)]
        assert leaving([*messages, message(99, 1, 0, "y@60.test")]) == []


people = st.sampled_from(["f@b.test", "g@b.test", "h@c.test", "u@a.test", "", "k@[1.2.3.4]"])
mail = st.lists(
    st.tuples(st.integers(0, 300), st.integers(0, 40 * DAY), people, st.booleans()), max_size=25
).map(
    lambda rows: [
        message(uid, size, age, sender, seen=seen) for uid, (size, age, sender, seen) in enumerate(rows, 1)
    ]
)


def is_old(one: StoredMessage) -> bool:
    return one.seen and one.received <= NOW - DAY


@given(mail)
def test_who_has_no_more_than_a_share_loses_nothing_but_old_read_mail(messages: list[StoredMessage]) -> None:
    go = leaving(messages)
    stay = [one for one in messages if one not in go]
    held = [one for one in messages if not is_old(one)]
    free = LIMIT - octets(held)
    for one in go:
        domain = one.sender.rpartition("@")[2]
        by_domain = octets(other for other in held if other.sender.rpartition("@")[2] == domain)
        by_address = octets(other for other in held if other.sender == one.sender)
        assert is_old(one) or 2 * by_address + by_domain > free
    # What was read goes first, and the oldest of it.
    old_left = [one for one in stay if is_old(one)]
    assert not old_left or all(is_old(one) for one in go)
    assert all(gone.received <= kept.received for gone in go if is_old(gone) for kept in old_left)
    # Without the last that went it would not have fitted.
    assert not go or octets(stay) + go[-1].octets > 700
    first = next((one.sender.rpartition("@")[2] for one in go if not is_old(one)), None)
    others = [one for one in go if not is_old(one) and one.sender.rpartition("@")[2] != first]
    assert not others or octets(stay) + others[-1].octets > 850
    # Two at once choose the same; one after the other finds nothing more.
    assert leaving(messages) == go
    assert not go or octets(stay) > 700 or leaving(stay) == []


# Among them that a message which only begins among the newest octets counts by that part of it.
@given(mail, st.integers(0, 1000), st.sampled_from(["x@evil.test", "x{}@evil.test"]))
@example(
    [message(n, size, 301, "f@b.test", seen=False) for n, size in enumerate((105, 186, 230))],
    0,
    "x@evil.test",
)
def test_no_flood_by_one_domain_costs_others_what_they_have_not_read(
    messages: list[StoredMessage], more: int, sender: str
) -> None:
    others = [one for one in messages if one.received < NOW - 300]
    unread = octets(one for one in others if not is_old(one))
    size = max(0, 760 - unread) // 10 * 10 + more
    # Whoever sent more than half of the newest 250 octets fills the mailbox.
    assume(unread <= 700 and size > 130)
    every = [*others, *flood(size, sender)]
    go = leaving(every)
    assert all(is_old(one) or one.sender.endswith("@evil.test") for one in go)
    # And the others can still deliver.
    assert octets(every) - octets(go) <= 850
