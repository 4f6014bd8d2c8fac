"""One relay in one round of `idle`: its clients, messages for some of them, and what all of them cost."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from time import monotonic

from tests.bench.mail import units
from tests.bench.mail.hibernation import connections
from tests.bench.mail.idlers import Crowd, Idler, gather
from tests.bench.mail.lmtp import hand_over
from tests.bench.mail.units import Units
from tests.lab.host import LabHost
from tests.lab.wait import until

SAMPLE = 25  # clients that get a message
PACE = 0.15  # seconds between two messages
_GONE = 30.0  # seconds for Dovecot to see that clients hung up

SETTLE = 1.5  # seconds until clients that were told sleep again


@dataclass
class IdleSide:
    """`waits`: milliseconds in order, by what was tried; `before`, `after`: MiB by program."""

    host: LabHost
    logins: Sequence[tuple[str, str]]
    message: bytes
    waits: dict[str, list[float]] = field(default_factory=dict)
    before: Mapping[str, float] = field(default_factory=dict)
    after: Mapping[str, float] = field(default_factory=dict)
    processes: int = 0
    connected: int = 0
    crowd: Crowd = field(default_factory=lambda: Crowd([], []))

    async def come(self) -> None:
        """All clients connect."""
        self.before = self._units.proportional(units.DOVECOT)
        self.crowd = await gather(self.host.ip, self.logins)
        self.connected = len(self.crowd.clients)

    def weigh(self) -> None:
        """What they cost now."""
        self.after = self._units.proportional(units.DOVECOT)
        self.processes = self._units.processes(units.DOVECOT)

    async def keep(self, count: int) -> None:
        """All but `count` hang up, and Dovecot knows."""
        self.crowd.keep(count)
        gone = partial(until, lambda: connections(self.host) <= count, _GONE, "see `doveadm who`")
        await asyncio.to_thread(gone)

    async def briefly(self, name: str, count: int, idle: float, offset: float, alone: int) -> None:
        """Messages for clients that go into IDLE now, so much later; `alone` of them if it is one client."""
        half = self.crowd.clients[count // 2 : count]
        sample = half[SAMPLE:][:SAMPLE] or half[:SAMPLE]
        times = alone if count == 1 else 1
        self.waits[name] = await self._each(sample, times, idle, offset)

    async def long(self, name: str, count: int, idle: float, offset: float) -> None:
        """Messages for others, that have idled since they came: at least that long."""
        sample = self.crowd.clients[count // 2 : count][:SAMPLE]
        self.waits[name] = await self._each(sample, 0, idle, offset)

    async def group(self, name: str, size: int, times: int) -> None:
        """A message to so many at once, who idle."""
        members = self.crowd.clients[:size]
        addresses = [client.address for client in members]
        waits: list[float] = []
        for _ in range(times):
            await asyncio.sleep(SETTLE)
            waits += await self._told(members, addresses)
        self.waits[name] = sorted(waits)

    async def _each(self, sample: Sequence[Idler], anew: int, idle: float, offset: float) -> list[float]:
        begin = monotonic() + offset

        async def one(number: int, client: Idler) -> list[float]:
            await until_then(begin + number * PACE)
            if not anew:
                return [await self._wait(client, idle)]
            return [await self._anew(client, idle) for _ in range(anew)]

        found = await asyncio.gather(*(one(*numbered) for numbered in enumerate(sample)))
        return sorted(chain.from_iterable(found))

    async def _anew(self, client: Idler, idle: float) -> float:
        await client.idle_anew()
        return await self._wait(client, idle)

    async def _wait(self, client: Idler, idle: float) -> float:
        """Milliseconds from LMTP to the notice."""
        await until_then(client.since + idle)
        (wait,) = await self._told([client], [client.address])
        return wait

    async def _told(self, clients: Sequence[Idler], addresses: Sequence[str]) -> list[float]:
        told = asyncio.gather(*(client.told() for client in clients))
        try:
            began = await hand_over(self.host, addresses, self.message)
            return [(moment - began) * 1e3 for moment in await told]
        finally:
            told.cancel()

    @property
    def _units(self) -> Units:
        return Units(self.host, [units.DOVECOT])


async def until_then(moment: float) -> None:
    """Wait for a moment (monotonic)."""
    await asyncio.sleep(max(0.0, moment - monotonic()))
