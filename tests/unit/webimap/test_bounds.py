"""What web clients may occupy at once."""

from __future__ import annotations

import asyncio

import pytest

from mxdeliv_app.webimap.bounds import Octets, Places, network
from mxdeliv_app.webimap.wire import WireError


def test_places_are_of_each_key_and_are_given_back() -> None:
    places = Places(2, "too many")
    with places.take("a"), places.take("a"), places.take("b"):
        with pytest.raises(WireError, match="too many") as caught, places.take("a"):
            pass
        assert caught.value.status == 429
    with places.take("a"), places.take("a"):
        pass


def test_who_needs_octets_waits_until_they_are_free() -> None:
    order = []

    async def use(octets: Octets, name: str, size: int) -> None:
        async with octets.hold(size):
            order.append(f"{name} begins")
            await asyncio.sleep(0)
            order.append(f"{name} ends")

    async def both() -> None:
        octets = Octets(10)
        # The second is larger than all: it takes all.
        await asyncio.gather(use(octets, "one", 6), use(octets, "other", 99))

    asyncio.run(both())
    assert order == ["one begins", "one ends", "other begins", "other ends"]


def test_who_waits_too_long_is_told_and_takes_nothing() -> None:
    async def late() -> None:
        octets = Octets(10, seconds=0.01)
        async with octets.hold(6):
            with pytest.raises(WireError) as caught:
                async with octets.hold(6):
                    pass
            assert caught.value.status == 503
        async with octets.hold(10):
            pass

    asyncio.run(late())


@pytest.mark.parametrize(
    ("client", "counts_as"),
    [("192.0.2.7", "192.0.2.7"), ("2001:db8::1", "2001:db8::/64"), ("2001:db8::ffff:1", "2001:db8::/64")],
)
def test_an_ipv6_address_counts_as_its_network(client: str, counts_as: str) -> None:
    assert network(client) == counts_as
