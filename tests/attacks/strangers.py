"""Where attackers come from, and what they do at once: thousands of connections, or a few busy workers.

The addresses are networks of their own behind this machine, to which the relay has routes for as long as the
attack lasts; this machine has every address in them. None is the one that the probes come from.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.chat.deadline import until
from tests.chat.smtp import any_certificate
from tests.lab.command import run
from tests.lab.host import LabHost
from tests.lab.plan import BRIDGE, CONTROL_ADDRESS, NETWORK6

# Private and documentation's (RFC 1918, RFC 3849).
IPV4 = ipaddress.ip_network("10.78.0.0/16")
IPV6 = ipaddress.ip_network("2001:db8:78::/48")
# Of an attacker who shares it with other people; no other attack comes from it.
SHARED = str(IPV4[255 * 256 + 1])
_GATEWAY6 = str(NETWORK6[1])

_BIND_ANY6 = Path("/proc/sys/net/ipv6/ip_nonlocal_bind")

# For a connection, TLS included, to be there or not; and until one that was closed or refused is opened anew.
OPEN_SECONDS, PAUSE = 10.0, 0.25

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def ipv4(number: int) -> list[str]:
    """So many IPv4 addresses, each in a /24 of its own as far as there are."""
    return [str(IPV4[(one % 250) * 256 + one // 250 + 1]) for one in range(number)]


def networks6(number: int) -> list[str]:
    """So many IPv6 addresses, each in a /64 of its own."""
    return [str(IPV6[(one << 64) + 1]) for one in range(number)]


def addresses6(number: int) -> list[str]:
    """So many IPv6 addresses of one /64."""
    return [str(IPV6[(0xFFFF << 64) + one + 1]) for one in range(number)]


@contextmanager
def routes(host: LabHost) -> Iterator[None]:
    """This machine has all of these addresses, and the host sends what is for them here."""
    # By a route alone an IPv6 address is not one that a socket may be bound to.
    before = _BIND_ANY6.read_text(encoding="ascii")
    _BIND_ANY6.write_text("1", encoding="ascii")
    run("ip", "addr", "replace", f"{_GATEWAY6}/{NETWORK6.prefixlen}", "dev", BRIDGE, "nodad")
    for network, gateway in ((IPV4, CONTROL_ADDRESS), (IPV6, _GATEWAY6)):
        version = f"-{network.version}"
        run("ip", version, "route", "replace", "local", str(network), "dev", "lo")
        run("ip", "-n", host.netns, version, "route", "replace", str(network), "via", gateway)
    try:
        yield
    finally:
        _BIND_ANY6.write_text(before, encoding="ascii")
        for network in (IPV4, IPV6):
            version = f"-{network.version}"
            run("ip", "-n", host.netns, version, "route", "del", str(network), check=False)
            run("ip", version, "route", "del", "local", str(network), "dev", "lo", check=False)
        run("ip", "addr", "del", f"{_GATEWAY6}/{NETWORK6.prefixlen}", "dev", BRIDGE, check=False)


@dataclass
class Tally:
    """`tried` and `opened` since the beginning (TLS included); `open` now."""

    tried: int = 0
    opened: int = 0
    open: int = 0


async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """Hears whatever the relay says until it hangs up, and says nothing."""
    while await reader.read(65536):
        pass


@contextmanager
def kept(
    sources: Sequence[str],
    each: int,
    host: LabHost,
    port: int,
    talk: Talk = silent,
    *,
    tls: bool = False,
    alpn: Sequence[str] = (),
    most: int = 20_000,
) -> Iterator[Tally]:
    """Keep `each` connections from every source while the block runs, which begins once each was tried.

    What ended is opened anew, `most` attempts in all. To the host's IPv6 address from an IPv6 source.
    """
    tally, stop = Tally(), threading.Event()
    wanted = len(sources) * each
    context = any_certificate(*alpn) if tls else None

    async def connection(source: str) -> None:
        # Not all in the same instant: a SYN that is dropped for that says nothing of the relay.
        while not stop.is_set() and tally.tried < most:
            tally.tried += 1
            target = host.host.ip6 if ":" in source else host.ip
            try:
                opening = asyncio.open_connection(target, port, ssl=context, local_addr=(source, 0))
                reader, writer = await asyncio.wait_for(opening, OPEN_SECONDS)
            except (TimeoutError, OSError, ssl.SSLError):
                pass
            else:
                tally.opened += 1
                tally.open += 1
                try:
                    with contextlib.suppress(OSError, asyncio.IncompleteReadError, ssl.SSLError):
                        await talk(reader, writer)
                finally:
                    # At the end too: what stays open counts towards the limits that come next.
                    tally.open -= 1
                    writer.transport.abort()
            await asyncio.sleep(PAUSE)

    async def all_of_them() -> None:
        tasks = []
        for number in range(wanted):
            tasks.append(asyncio.create_task(connection(sources[number % len(sources)])))
            if number % 50 == 49:
                await asyncio.sleep(0.05)
        while not stop.is_set():
            await asyncio.sleep(0.1)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    thread = threading.Thread(target=asyncio.run, args=(all_of_them(),))
    thread.start()
    try:
        until("each connection was tried", lambda: tally.tried >= min(wanted, most), 60)
        yield tally
    finally:
        stop.set()
        thread.join()


@contextmanager
def flooding(step: Callable[[int], object], workers: int, most: int) -> Iterator[Tally]:
    """`step(0)`, `step(1)`, … by so many threads, `most` in all, until the block is left.

    `step` has timeouts of its own. An OSError is an attempt that failed; what else it raises, this raises.
    """
    tally, stop, lock = Tally(), threading.Event(), threading.Lock()

    def work() -> None:
        while not stop.is_set():
            with lock:
                number, tally.tried = tally.tried, tally.tried + 1
            if number >= most:
                return
            with contextlib.suppress(OSError):
                step(number)
                tally.opened += 1

    with ThreadPoolExecutor(workers) as pool:
        busy = [pool.submit(work) for _ in range(workers)]
        try:
            yield tally
        finally:
            stop.set()
        for one in busy:
            one.result()
