"""However many connections others make and never log in, a client that logs in has its place until then."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mxdeliv_app.webimap.bounds import BeforeLogin, Owner
from mxdeliv_app.webimap.wire import WireError
from tests.unit.loop import run

SIZE = 6
# Sites with up to three networks each.
OWNERS = st.builds(
    lambda site, network: Owner(f"site{site}", f"network{site}.{network}"),
    st.integers(0, 8),
    st.integers(0, 2),
)


class Lounge:
    """Connections that wait, in the order of arrival."""

    def __init__(self) -> None:
        self.places = BeforeLogin(SIZE)
        self.waiting: dict[int, Owner] = {}
        self.ended: list[int] = []
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._logins: dict[int, asyncio.Event] = {}

    async def arrive(self, owner: Owner) -> int:
        """Returns its number."""
        number = len(self._tasks)
        self._logins[number] = asyncio.Event()
        self._tasks[number] = asyncio.create_task(self._wait(number, owner))
        await self._settle()
        return number

    async def _wait(self, number: int, owner: Owner) -> None:
        try:
            async with self.places.take(owner):
                self.waiting[number] = owner
                await self._logins[number].wait()
        except WireError:
            self.ended.append(number)
        finally:
            del self.waiting[number]

    async def log_in(self, number: int) -> None:
        self._logins[number].set()
        await self._settle()

    async def close(self) -> None:
        for login in self._logins.values():
            login.set()
        await asyncio.gather(*self._tasks.values())

    async def _settle(self) -> None:
        # A step for the new task, one for the timer, and two for the task that it ends.
        for _ in range(5):
            await asyncio.sleep(0)


# Each step: an arrival, or the login of the connection that is then at this place in the order.
@given(st.lists(OWNERS | st.integers(0, SIZE - 1), max_size=60))
def test_one_more_ends_the_oldest_of_the_network_with_the_most(steps: list[Owner | int]) -> None:
    async def play() -> None:
        lounge = Lounge()
        for step in steps:
            before = dict(lounge.waiting)
            if isinstance(step, int):
                if step < len(before):
                    await lounge.log_in(list(before)[step])
                    assert len(lounge.waiting) == len(before) - 1
                continue
            ended = len(lounge.ended)
            new = await lounge.arrive(step)
            # The newest connection always gets a place.
            assert new in lounge.waiting
            assert len(lounge.waiting) == min(len(before) + 1, SIZE)
            if len(before) < SIZE:
                assert len(lounge.ended) == ended
                continue
            (gone,) = lounge.ended[ended:]
            owner = before[gone]
            sites = Counter(one.site for one in (*before.values(), step))
            networks = Counter(one.name for one in (*before.values(), step))
            assert sites[owner.site] == max(sites[one.site] for one in before.values())
            of_site = [one.name for one in before.values() if one.site == owner.site]
            assert networks[owner.name] == max(networks[name] for name in of_site)
            assert gone == min(number for number, one in before.items() if one == owner)
        await lounge.close()

    run(play)


@given(st.lists(st.integers(1, SIZE - 1), max_size=60), st.integers(0, 60))
def test_a_client_that_is_alone_in_its_site_stays_until_it_logs_in(others: list[int], at: int) -> None:
    async def play() -> None:
        lounge = Lounge()
        # Of fewer sites than there are places, however many networks they have.
        arrivals = [Owner(f"site{site}", f"network{number}") for number, site in enumerate(others)]
        for one in arrivals[:at]:
            await lounge.arrive(one)
        client = await lounge.arrive(Owner("home", "192.0.2.1"))
        for one in arrivals[at:]:
            await lounge.arrive(one)
        assert client in lounge.waiting
        await lounge.log_in(client)
        assert client not in lounge.ended
        await lounge.close()

    run(play)


@pytest.mark.parametrize("addresses", [("192.0.2.1", "::ffff:192.0.2.1"), ("2001:db8::1", "2001:db8::2")])
def test_an_address_in_another_form_counts_as_the_same(addresses: tuple[str, str]) -> None:
    async def play() -> None:
        lounge = Lounge()
        other = await lounge.arrive(Owner.at("192.0.2.2"))
        first = await lounge.arrive(Owner.at(addresses[0]))
        for _ in range(SIZE - 1):
            await lounge.arrive(Owner.at(addresses[1]))
        assert (lounge.ended, other in lounge.waiting) == ([first], True)
        await lounge.close()

    run(play)


def test_one_that_ends_by_itself_gives_its_place_back() -> None:
    async def play() -> None:
        lounge, owner = Lounge(), Owner("site", "network")
        for _ in range(SIZE - 1):
            await lounge.arrive(owner)
        with pytest.raises(WireError, match="wrong"):
            async with lounge.places.take(owner):
                raise WireError(401, "wrong")
        await lounge.arrive(owner)
        assert lounge.ended == []
        await lounge.close()

    run(play)
