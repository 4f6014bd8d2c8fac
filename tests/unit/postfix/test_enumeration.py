"""A peer learns of 60 unknown names a minute, 2000 at once; then all names get one temporary reply."""

from __future__ import annotations

import pytest

from chatmail_milter.config import parse
from chatmail_milter.processes.ratelimit import Rate
from mxdeliv_app.postfix.recipients import EnumerationLimit, RecentSet
from tests.unit.clock import Clock

PEER, OTHER = "192.0.2.7", "192.0.2.8"
ALICE, BOB = "alice123@a.example", "bob12345@a.example"


def tried(limit: EnumerationLimit, name: str, peer: str = PEER, *, known: bool = False) -> bool:
    """Whether the peer is told of the recipient, as it then is."""
    if not limit.allows(peer, name):
        return False
    limit.told(peer, name, known=known)
    return True


def spent(clock: Clock | None = None, peer: str = PEER) -> EnumerationLimit:
    """A limit of three at once that a peer has reached, with ALICE known to it before."""
    limit = EnumerationLimit(Rate(60, 3), clock or Clock())
    assert tried(limit, ALICE, peer, known=True)
    assert [tried(limit, f"n{number}@a.example", peer) for number in range(4)] == [True] * 3 + [False]
    return limit


def test_the_defaults_are_60_a_minute_and_2000_at_once() -> None:
    inbound = parse('[mail]\ndomain = "a.example"').inbound
    assert (inbound.unknown_per_minute, inbound.unknown_burst) == (60, 2000)
    clock = Clock()
    limit = EnumerationLimit(Rate(inbound.unknown_per_minute, inbound.unknown_burst), clock)
    assert sum(tried(limit, f"n{number}@a.example") for number in range(3000)) == 2000
    clock.now += 60.0
    assert sum(tried(limit, f"m{number}@a.example") for number in range(3000)) == 60


def test_beyond_it_accounts_are_not_told_from_other_names() -> None:
    limit = spent()
    assert not tried(limit, BOB, known=True)
    assert not tried(limit, "nobody12@a.example")


def test_what_a_peer_was_told_of_it_is_told_again_for_nothing() -> None:
    limit = spent()
    for _ in range(10):
        assert tried(limit, ALICE, known=True)
        assert tried(limit, "n0@a.example")


def test_accounts_count_for_nothing() -> None:
    limit = EnumerationLimit(Rate(60, 3), Clock())
    assert all(tried(limit, f"u{number}@a.example", known=True) for number in range(100))
    assert tried(limit, "nobody12@a.example")


def test_another_peer_is_told_all_the_same() -> None:
    limit = spent()
    assert tried(limit, BOB, OTHER, known=True)
    assert tried(limit, "n0@a.example", OTHER)


@pytest.mark.parametrize(
    ("one", "another", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("192.0.2.7", "::ffff:192.0.2.7", True),
        ("192.0.2.7", "192.0.2.6", False),
        ("unknown", "", True),
    ],
)
def test_an_ipv6_network_of_64_bits_is_one_peer(one: str, another: str, same: bool) -> None:
    assert tried(spent(peer=one), BOB, another, known=True) is not same


def test_who_waits_is_told_of_one_each_second() -> None:
    clock = Clock()
    limit = spent(clock)
    clock.now += 1.0
    assert [tried(limit, f"m{number}@a.example") for number in range(3)] == [True, False, False]


def test_nought_a_minute_is_no_limit() -> None:
    limit = EnumerationLimit(Rate(0, 1), Clock())
    assert all(tried(limit, f"n{number}@a.example") for number in range(100))


def test_the_set_keeps_what_was_used_last_and_does_not_grow() -> None:
    recent = RecentSet(8)  # one place for all
    assert [recent.add(f"u{number}") for number in range(8)] == [True] * 8
    assert not recent.add("u0")
    assert recent.add("u8")
    assert {f"u{number}" for number in range(9) if f"u{number}" in recent} == {f"u{n}" for n in range(9)} - {
        "u1"
    }
