"""The pool of SMTP connections: which one is acquired, and which are closed."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import cast

from mxdeliv_app.mxdeliv.smtp_client import IPAddress, SmtpClient
from mxdeliv_app.mxdeliv.smtp_pool import ConnectionPool

ANNA, BERT, CARL = (ipaddress.ip_address(f"192.0.2.{number}") for number in (1, 2, 3))
OLD = 61.0  # seconds; a minute is the most


@dataclass(eq=False)
class PoolConversation:
    """A conversation as the pool sees it."""

    peer: IPAddress
    age: float = 0.0
    quiet: bool = True
    said: list[str] = field(default_factory=list)

    def quit(self) -> None:
        self.said.append("QUIT")

    def close(self) -> None:
        self.said.append("closed")


def kept(*talks: PoolConversation) -> ConnectionPool:
    pool = ConnectionPool()
    for one in talks:
        pool.release(cast(SmtpClient, one))
    return pool


def test_a_peer_gets_its_own_back_the_last_used_first() -> None:
    first, second, other = PoolConversation(ANNA), PoolConversation(ANNA), PoolConversation(BERT)
    pool = kept(first, second, other)
    assert pool.acquire(ANNA) is cast(SmtpClient, second)
    assert pool.acquire(ANNA) is cast(SmtpClient, first)


def test_another_gets_the_one_that_waits_longest() -> None:
    first, second = PoolConversation(ANNA), PoolConversation(BERT)
    pool = kept(first, second)
    assert pool.acquire(CARL) is cast(SmtpClient, first)
    assert pool.acquire(CARL) is cast(SmtpClient, second)
    assert pool.acquire(CARL) is None


def test_none_is_given_to_two() -> None:
    pool = kept(PoolConversation(ANNA))
    assert pool.acquire(ANNA) is not None
    assert pool.acquire(ANNA) is None


def test_what_is_old_or_was_hung_up_on_is_closed_and_not_used() -> None:
    old, dead = PoolConversation(ANNA, age=OLD), PoolConversation(ANNA, quiet=False)
    assert kept(old, dead).acquire(ANNA) is None
    assert old.said == dead.said == ["QUIT", "closed"]


def test_what_gets_old_is_closed_even_if_nobody_wants_it() -> None:
    old, young = PoolConversation(ANNA, age=OLD), PoolConversation(BERT)
    assert kept(old, young).acquire(BERT) is cast(SmtpClient, young)
    assert old.said == ["QUIT", "closed"]
