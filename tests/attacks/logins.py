"""Logins that fail: passwords that are not UTF-8, and guesses of one account's password."""

from __future__ import annotations

import asyncio
import secrets
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager

from tests.attacks import strangers
from tests.attacks.trial import Attack, AttackScene
from tests.chat.deadline import until
from tests.chat.login import by_imap, by_submission
from tests.chat.person import fresh_address, fresh_password

_CONNECTIONS = 45
_NOT_UTF8 = b"p\xe4ssword \xff\xff"
# Passwords of one account that are checked: so many at once, and a minute; and all with the fingerprint of
# the right one, as one in 4,096 has.
_AT_ONCE = _PER_MINUTE = 20
_ALIKE = 3


@contextmanager
def unreadable(scene: AttackScene) -> Iterator[str]:
    """45 connections of one address to 465, each with one attempt after the other."""

    answered: set[asyncio.StreamReader] = set()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"EHLO stranger.invalid\r\n")
        while (await reader.readline())[3:4] == b"-":
            pass
        user = f"{secrets.token_hex(6)}@{scene.host.domain}".encode()
        while True:
            writer.write(b"AUTH PLAIN " + _plain(user, _NOT_UTF8) + b"\r\n")
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


@contextmanager
def guesses(scene: AttackScene) -> Iterator[str]:
    """45 connections of as many addresses to 993, each with one password after the other for one account."""
    victim = fresh_address(scene.host.domain), fresh_password()
    assert by_imap(scene.host.ip, *victim) == "OK"
    checked, put_off = 0, 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal checked, put_off
        await reader.readline()
        while True:
            guess = _plain(victim[0].encode(), fresh_password().encode())
            writer.write(b"a AUTHENTICATE PLAIN " + guess + b"\r\n")
            answer = await reader.readline()
            if b"[AUTHENTICATIONFAILED]" in answer:
                checked += 1
            elif b"[UNAVAILABLE]" in answer:
                put_off += 1
            else:
                return

    began = time.monotonic()
    with strangers.kept(scene.ipv4(_CONNECTIONS), 1, scene.host, 993, talk, tls=True) as tally:
        until(
            "each of 45 connections was put off",
            lambda: put_off >= _CONNECTIONS and tally.open == _CONNECTIONS,
            60,
        )
        yield f"{tally.open} of {_CONNECTIONS} open, {checked} guesses checked, {put_off} put off"
        for login in (by_imap, by_submission):
            said = login(scene.host.ip, *victim)
            assert said == "OK", f"the owner is told: {said}"
        most = _AT_ONCE + _PER_MINUTE * (time.monotonic() - began) / 60 + _ALIKE
        assert checked <= most, f"{checked} guesses were checked, at most {most:.0f} may be"


def _plain(user: bytes, password: bytes) -> bytes:
    return b64encode(b"\0" + user + b"\0" + password)


ATTACKS = (
    Attack("passwords not UTF-8 on 465, one address", unreadable),
    Attack("guesses of one password on 993, 45 addresses", guesses),
)
