"""Domains that an operator sends nothing to: refused at RCPT, so that Postfix bounces those alone."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from tests.blackbox.relay.installed_relay import (
    MESSAGE,
    NUMBERS,
    Lmtp,
    Peer,
    World,
    deliver,
    https_only,
    lmtp,
)

BLOCKED = (554, "5.7.1 Recipient domain is blocked here")
CLOSED = (554, "5.7.1 This server exchanges no mail with that domain")


@pytest.fixture(autouse=True)
def _open_again(world: World) -> Iterator[None]:
    yield
    world.ctl("federation", "open")


@pytest.fixture
def other(world: World) -> str:
    """A second domain at the peer's address."""
    name = f"_d{next(NUMBERS)}.test"
    world.dns.zone[name, "A"] = ["127.0.0.2"]
    return name


@contextmanager
def store_without(world: World, table: str) -> Iterator[None]:
    """The relay's store, of which one table can't be found meanwhile."""
    with closing(sqlite3.connect(world.directory / "store.sqlite", isolation_level=None)) as store:
        store.execute(f"ALTER TABLE {table} RENAME TO away")
        try:
            yield
        finally:
            store.execute(f"ALTER TABLE away RENAME TO {table}")


def rcpt(client: Lmtp, recipient: str) -> tuple[int, str]:
    code, text = client.docmd(f"RCPT TO:<{recipient}>")
    return code, text.decode()


class TestBlockedDomain:
    def test_is_refused_at_rcpt_and_other_recipients_are_not(
        self, world: World, peer: Peer, domain: str, other: str
    ) -> None:
        world.ctl("block", "add", other)
        with lmtp(world) as client:
            client.ehlo()
            client.docmd("MAIL FROM:<u@_here.test>")
            assert rcpt(client, f"ann@{other.upper()}") == BLOCKED
            assert rcpt(client, f"ann@{domain}") == (250, "2.1.5 OK")
            assert client.data(MESSAGE)[0] == 250
        assert [seen.values("X-Mail-To") for seen in peer.seen] == [[f"ann@{domain}"]]
        assert world.sink.taken == []

    def test_is_in_force_at_once_on_a_connection_that_is_open_and_so_is_its_end(
        self, world: World, peer: Peer, domain: str
    ) -> None:
        with lmtp(world) as client:
            for _ in range(3):
                assert client.deliver(f"ann@{domain}")[0][0] == 250
                world.ctl("block", "add", domain)
                assert client.deliver(f"ann@{domain}") == [BLOCKED]
                world.ctl("block", "remove", domain)
        assert len(peer.seen) == 3

    def test_goes_by_neither_road(self, world: World, peer: Peer, domain: str) -> None:
        world.ctl("block", "add", domain)
        assert https_only(world, f"ann@{domain}") == (BLOCKED[0], BLOCKED[1].encode())
        world.ctl("route", "set", domain, "--https", "never")
        assert deliver(world, f"ann@{domain}") == [BLOCKED]
        assert peer.seen == []
        assert world.sink.taken == []

    def test_sub_domains_are_those_below(self, world: World, peer: Peer, domain: str) -> None:
        world.dns.zone[f"sub.{domain}", "A"] = ["127.0.0.2"]
        world.ctl("block", "add", f".{domain}")
        assert deliver(world, f"ann@{domain}", f"ann@sub.{domain}") == [(250, "2.0.0 OK"), BLOCKED]

    def test_a_blocked_network_is_the_domain_of_its_literals(self, world: World, peer: Peer) -> None:
        world.ctl("block", "add", "127.0.0.2")
        try:
            recipients = ("ann@[127.0.0.2]", "ann@127.0.0.2", "ann@[IPv6:::ffff:127.0.0.2]")
            assert deliver(world, *recipients) == [BLOCKED] * 3
        finally:
            world.ctl("block", "remove", "127.0.0.2")
        assert deliver(world, "ann@[127.0.0.2]")[0][0] == 250

    def test_a_recipient_that_only_smtp_could_name_is_refused_too(
        self, world: World, peer: Peer, domain: str
    ) -> None:
        world.ctl("block", "add", domain)
        assert deliver(world, f'"a b"@{domain.upper()}') == [BLOCKED]


class TestFederation:
    def test_a_closed_one_sends_to_the_listed_alone_by_both_roads(
        self, world: World, peer: Peer, domain: str, other: str
    ) -> None:
        world.ctl("federation", "closed")
        assert deliver(world, f"ann@{domain}") == [CLOSED]
        world.ctl("federation", "add", domain)
        assert deliver(world, f"ann@{domain}", f"ann@{other}") == [(250, "2.0.0 OK"), CLOSED]
        assert https_only(world, f"ann@{domain}")[0] == 250
        assert https_only(world, f"ann@{other}") == (CLOSED[0], CLOSED[1].encode())
        world.ctl("federation", "open")
        assert deliver(world, f"ann@{other}")[0][0] == 250

    def test_an_open_one_sends_to_all_but_the_listed(self, world: World, peer: Peer, domain: str) -> None:
        world.ctl("federation", "add", domain)
        assert deliver(world, f"ann@{domain}") == [CLOSED]
        world.ctl("federation", "remove", domain)
        assert deliver(world, f"ann@{domain}")[0][0] == 250


def test_the_log_tells_why_and_of_whom_no_more_than_the_domain(world: World, peer: Peer, domain: str) -> None:
    world.ctl("block", "add", domain)
    deliver(world, f"somebody-nobody-names@{domain}")
    assert f"event=refused domain={domain} reason=blocked queue=-" in world.log
    assert "somebody-nobody-names" not in world.log


def test_a_store_that_can_not_be_read_means_later(world: World, peer: Peer, domain: str) -> None:
    world.ctl("block", "add", domain)
    with store_without(world, "policy"):
        assert deliver(world, f"ann@{domain}") == [(451, "4.3.0 Policy can't be read, try again later")]
        assert https_only(world, f"ann@{domain}")[0] == 451
    assert deliver(world, f"ann@{domain}") == [BLOCKED]
