"""Thousands of WebSockets of WebIMAP that never log in; what the relay ends is opened anew."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

from tests.attacks import strangers
from tests.attacks.silent import four, of_one_48
from tests.attacks.trial import Attack, AttackScene
from tests.chat.deadline import until

_UPGRADE = (
    "GET /webimap/ws HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: c2l4dGVlbiBvY3RldHMhIQ==\r\n\r\n"
)


def sockets(
    sources: Callable[[AttackScene], Sequence[str]], each: int, least: int, most: int
) -> Callable[[AttackScene], AbstractContextManager[str]]:
    """`each` from every source, of which so many are WebSockets at once: the others are refused, or ended.

    The relay has fewer: those that it ends are open here for a second more, because they don't answer.
    """

    @contextmanager
    def strike(scene: AttackScene) -> Iterator[str]:
        upgraded, height = 0, 0

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal upgraded, height
            writer.write(_UPGRADE.format(scene.host.domain).encode())
            is_socket = b" 101 " in await reader.readline()
            upgraded += is_socket
            height = max(height, upgraded)
            try:
                await strangers.silent(reader, writer)
            finally:
                upgraded -= is_socket

        addresses = sources(scene)
        with strangers.kept(addresses, each, scene.host, 443, talk, tls=True) as tally:
            until("the sockets are open", lambda: height >= least, 60)
            yield f"{height} sockets, {tally.open} of {each * len(addresses)} open"
            assert height <= most, f"{height} sockets at once"

    return strike


ATTACKS = (
    Attack("1,000 WebIMAP sockets, one address", sockets(four(1), 1000, 100, 150)),
    Attack("2,000 WebIMAP sockets, 100 networks of a /48", sockets(of_one_48(100), 20, 400, 600)),
    Attack("4,800 WebIMAP sockets, 40 addresses", sockets(four(40), 120, 1000, 2500)),
)
