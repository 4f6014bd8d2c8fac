"""What web clients may occupy at once."""

from __future__ import annotations

import asyncio

import pytest

from mxdeliv_app.webimap.bounds import Owner, Places, Turns
from mxdeliv_app.webimap.wire import WireError
from tests.unit.loop import run

A, B, C, D = (Owner(*text) for text in ("sa", "sb", "tc", "ud"))


def test_places_are_of_each_key_and_are_given_back() -> None:
    places = Places(2, "too many")
    with places.take("a"), places.take("a"), places.take("b"):
        with pytest.raises(WireError, match="too many") as caught, places.take("a"):
            pass
        assert caught.value.status == 429
    with places.take("a"), places.take("a"):
        pass


def test_each_gets_its_turn_and_one_that_takes_all_it_can_leaves_some() -> None:
    order: list[str] = []

    async def turns() -> None:
        units, more = Turns(6), asyncio.Event()

        async def use(name: str, owner: Owner, amount: int = 1) -> None:
            async with units.take(owner, amount):
                order.append(name)
                await more.wait()

        async def begin(*uses: tuple[str, Owner, int]) -> list[asyncio.Task[None]]:
            tasks = [asyncio.create_task(use(*one)) for one in uses]
            await asyncio.sleep(0)
            return tasks

        tasks = await begin(*((f"a{number}", A, 1) for number in range(9)))
        # Two thirds; and no other account of its site gets what is left for other sites.
        assert order == ["a0", "a1", "a2", "a3"]
        tasks += await begin(("b0", B, 1), ("c0", C, 1), ("c1", C, 1), ("d0", D, 1))
        assert order[4:] == ["c0", "c1"]
        order.clear()
        more.set()
        await asyncio.gather(*tasks)
        # Of those who wait, the one whose site has least first, and then one of each in turn.
        assert order == ["d0", "a4", "b0", "a5", "a6", "a7", "a8"]

    run(turns)


def test_who_leaves_or_waits_too_long_takes_nothing() -> None:
    async def late() -> None:
        units = Turns(10, seconds=0.01)
        async with units.take(A, 6):
            with pytest.raises(WireError) as caught:
                async with units.take(A, 6):
                    pass
            assert caught.value.status == 503
        for _ in range(3):
            async with units.take(A, 6):
                waits = asyncio.create_task(units.take(A, 6).__aenter__())
                await asyncio.sleep(0)
            # It has its turn, and doesn't know yet.
            waits.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waits
        async with units.take(B, 6):
            pass

    run(late)


@pytest.mark.parametrize(
    ("client", "account", "owner"),
    [
        ("192.0.2.7", "", ("192.0.2.0/24", "192.0.2.7")),
        ("2001:db8:1:2::ffff:1", "", ("2001:db8:1::/48", "2001:db8:1:2::")),
        ("::ffff:192.0.2.7", "U@a.test", ("192.0.2.0/24", "u@a.test")),
    ],
)
def test_an_address_counts_as_its_network_and_its_site(
    client: str, account: str, owner: tuple[str, str]
) -> None:
    assert Owner.at(client, account) == owner
