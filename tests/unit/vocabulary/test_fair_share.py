"""A resource that many share: one takes much, and leaves some for others."""

from __future__ import annotations

from contextlib import ExitStack, suppress

import pytest

from chatmail_milter.fair_share import BusyError, FairShare


def taken(room: FairShare, network: str, amount: int, most: int = 1000) -> tuple[int, ExitStack]:
    """How often the network gets the amount, and what gives all of it back."""
    held = ExitStack()
    for number in range(most):
        try:
            held.enter_context(room.taken(network, amount))
        except BusyError:
            return number, held
    return most, held


@pytest.mark.parametrize("size", [1, 2, 3, 92, 600])
def test_one_network_alone_takes_two_thirds(size: int) -> None:
    number, held = taken(FairShare(size), "a", 1)
    assert abs(number - 2 * size / 3) <= 1
    assert number > 0
    held.close()


def test_each_of_many_networks_finds_room_however_greedy_they_are() -> None:
    room = FairShare(92)
    took = [taken(room, f"n{one}", 1) for one in range(5)]
    assert [number for number, _ in took] == [62, 20, 7, 2, 1]
    for _, held in took:
        held.close()


def test_as_messages_end_each_of_two_has_two_fifths() -> None:
    room = FairShare(100)
    # The first has taken what one alone may have when the second begins.
    messages = {"a": [room.taken("a", 1) for _ in range(67)], "b": []}
    for one in messages["a"]:
        one.__enter__()
    for network in ("b", "a") * 500:
        if network == "a":
            messages["a"].pop(0).__exit__(None, None, None)
        message = room.taken(network, 1)
        with suppress(BusyError):
            message.__enter__()
            messages[network].append(message)
    assert [len(messages[network]) for network in "ab"] == [40, 40]


def test_what_is_given_back_can_be_taken_again() -> None:
    room = FairShare(600)
    for _ in range(3):
        number, held = taken(room, "a", 99)
        assert number == 4
        held.close()
