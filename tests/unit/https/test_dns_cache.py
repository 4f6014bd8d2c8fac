"""The DNS cache holds each answer until its TTL expires."""

from __future__ import annotations

import time
from ipaddress import ip_address
from types import SimpleNamespace
from typing import Any, cast

import dns.resolver
import pytest

from chatmail_milter.config.values import Nameserver
from mxdeliv_app.https.event_loop import WouldWaitError, at_once
from mxdeliv_app.https.resolver import NoSuchDomainError, Resolver


class Records(list[Any]):
    """An answer of DNS, good until `expiration` (POSIX time)."""

    expiration = 0.0


class Asked(Resolver):
    """Names whose answers are made here, good for `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__([Nameserver("127.0.0.1@1")])
        self.seconds = seconds
        self.asked: list[tuple[str, str]] = []

    def _ask(self, name: str, kind: str) -> dns.resolver.Answer:
        self.asked.append((name, kind))
        if name == "none.test":
            raise NoSuchDomainError
        records = Records([SimpleNamespace(address="192.0.2.1")] if kind == "A" else [])
        records.expiration = time.time() + self.seconds
        return cast(dns.resolver.Answer, records)


def test_it_is_asked_for_once_while_it_holds() -> None:
    names = Asked(3600)
    for _ in range(3):
        assert names.addresses("mx.test") == [ip_address("192.0.2.1")]
        assert names.mail_hosts("b.test") == ("b.test",)
    assert names.asked == [("mx.test", "AAAA"), ("mx.test", "A"), ("b.test", "MX")]


def test_it_is_asked_for_again_afterwards() -> None:
    names = Asked(0)
    for _ in range(3):
        assert names.addresses("mx.test") == [ip_address("192.0.2.1")]
    assert names.asked == [("mx.test", "AAAA"), ("mx.test", "A")] * 3


def test_that_there_is_no_such_name_is_not_held_here() -> None:
    names = Asked(3600)
    for _ in range(2):
        with pytest.raises(NoSuchDomainError):
            names.mail_hosts("none.test")
    assert len(names.asked) == 2


def test_the_event_loop_hears_what_is_held_and_asks_nobody() -> None:
    names = Asked(3600)
    with at_once():
        with pytest.raises(WouldWaitError):
            names.mail_hosts("b.test")
        assert names.asked == []
    names.mail_hosts("b.test")
    with at_once():
        assert names.mail_hosts("b.test") == ("b.test",)
