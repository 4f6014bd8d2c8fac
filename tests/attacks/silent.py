"""Connections that say nothing, or next to nothing, on every port; what the relay ends is opened anew."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

from tests.attacks import strangers
from tests.attacks.strangers import Talk
from tests.attacks.trial import Attack, AttackScene

# Seconds between two octets of those who are slow.
_SLOW = 5.0


async def greeted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Says EHLO, which is answered, and no more."""
    writer.write(b"EHLO silent.invalid\r\n")
    await strangers.silent(reader, writer)


async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Begins a command that never ends, an octet at a time."""
    hearing = asyncio.create_task(strangers.silent(reader, writer))
    while not hearing.done():
        writer.write(b"N")
        await asyncio.wait([hearing], timeout=_SLOW)


def silent(
    sources: Callable[[AttackScene], Sequence[str]],
    each: int,
    port: int,
    talk: Talk = strangers.silent,
    *,
    tls: bool = False,
) -> Callable[[AttackScene], AbstractContextManager[str]]:
    """`each` connections from every source, kept."""

    @contextmanager
    def strike(scene: AttackScene) -> Iterator[str]:
        with strangers.kept(sources(scene), each, scene.host, port, talk, tls=tls) as tally:
            yield f"{tally.open} of {each * len(sources(scene))} open"

    return strike


def four(number: int) -> Callable[[AttackScene], Sequence[str]]:
    return lambda scene: scene.ipv4(number)


def of_one_64(number: int) -> Callable[[AttackScene], Sequence[str]]:
    return lambda scene: scene.addresses6(number)


def of_one_48(number: int) -> Callable[[AttackScene], Sequence[str]]:
    return lambda scene: scene.networks6(number)


ATTACKS = (
    Attack("silent on 25, 4 addresses", silent(four(4), 100, 25)),
    Attack("silent on 25, 20 addresses", silent(four(20), 50, 25)),
    Attack("silent on 25, one /64", silent(of_one_64(100), 4, 25)),
    Attack("silent on 25, 100 networks of a /48", silent(of_one_48(100), 4, 25)),
    Attack("silent after EHLO on 25, 20 addresses", silent(four(20), 50, 25, greeted)),
    Attack("slow on 25, 20 addresses", silent(four(20), 50, 25, slow)),
    Attack("silent on 465, 2 addresses", silent(four(2), 400, 465)),
    Attack("silent on 465, 20 addresses", silent(four(20), 100, 465)),
    Attack("silent on 465, one /64", silent(of_one_64(200), 4, 465)),
    Attack("silent after TLS on 465, 4 addresses", silent(four(4), 200, 465, tls=True)),
    Attack("slow after TLS on 465, 4 addresses", silent(four(4), 200, 465, slow, tls=True)),
    Attack(
        "silent on 465, the users' own address", silent(lambda _: [strangers.SHARED], 120, 465), shared=True
    ),
    Attack("silent on 587, 2 addresses", silent(four(2), 400, 587)),
    Attack("silent after EHLO on 587, 20 addresses", silent(four(20), 100, 587, greeted)),
    Attack("silent on 993, 4 addresses", silent(four(4), 500, 993)),
    Attack("silent after TLS on 993, 4 addresses", silent(four(4), 300, 993, tls=True)),
    Attack("silent on 443, 4 addresses", silent(four(4), 500, 443)),
    Attack("silent after TLS on 443, 4 addresses", silent(four(4), 300, 443, tls=True)),
)
