"""Logins that fail: passwords that are not UTF-8."""

from __future__ import annotations

import asyncio
import secrets
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager

from tests.attacks import strangers
from tests.attacks.trial import Attack, Scene
from tests.chat.deadline import until

_CONNECTIONS = 45
_NOT_UTF8 = b"p\xe4ssword \xff\xff"


@contextmanager
def unreadable(scene: Scene) -> Iterator[str]:
    """45 connections of one address to 465, each with one attempt after the other."""

    answered: set[asyncio.StreamReader] = set()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"EHLO stranger.invalid\r\n")
        while (await reader.readline())[3:4] == b"-":
            pass
        user = f"{secrets.token_hex(6)}@{scene.host.domain}".encode()
        while True:
            writer.write(b"AUTH PLAIN " + b64encode(b"\0" + user + b"\0" + _NOT_UTF8) + b"\r\n")
            if not (await reader.readline()).startswith(b"535"):
                return
            answered.add(reader)

    with strangers.kept(scene.ipv4(1), _CONNECTIONS, scene.host, 465, talk, tls=True) as tally:
        until(
            "each of 45 connections has had an answer",
            lambda: len(answered) >= _CONNECTIONS and tally.open == _CONNECTIONS,
            60,
        )
        yield f"{tally.open} of {_CONNECTIONS} open, all answered"


ATTACKS = (Attack("passwords not UTF-8 on 465, one address", unreadable),)
