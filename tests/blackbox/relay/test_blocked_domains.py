"""The relay refuses blocked domains at RCPT, so that Postfix bounces those recipients alone."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from tests.blackbox.relay.installed_relay import (
    MESSAGE,
    NUMBERS,
    InstalledRelay,
    Lmtp,
    ScriptedPeer,
    deliver,
    https_only,
    lmtp,
)

BLOCKED = (554, "5.7.1 Recipient domain is blocked here")
CLOSED = (554, "5.7.1 This server exchanges no mail with that domain")


@pytest.fixture(autouse=True)
def _open_again(relay: InstalledRelay) -> Iterator[None]:
    yield
    relay.ctl("federation", "open")


@pytest.fixture
def other(relay: InstalledRelay) -> str:
    """A second domain at the peer's address."""
    name = f"_d{next(NUMBERS)}.test"
    relay.dns.zone[name, "A"] = ["127.0.0.2"]
    return name


@contextmanager
def store_without(relay: InstalledRelay, table: str) -> Iterator[None]:
    """The relay's store, of which one table can't be found meanwhile."""
    with closing(sqlite3.connect(relay.directory / "store.sqlite", isolation_level=None)) as store:
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
        self, relay: InstalledRelay, peer: ScriptedPeer, domain: str, other: str
    ) -> None:
        relay.ctl("block", "add", other)
        with lmtp(relay) as client:
            client.ehlo()
            client.docmd("MAIL FROM:<u@_here.test>")
            assert rcpt(client, f"ann@{other.upper()}") == BLOCKED
            assert rcpt(client, f"ann@{domain}") == (250, "2.1.5 OK")
            assert client.data(MESSAGE)[0] == 250
        assert [seen.values("X-Mail-To") for seen in peer.seen] == [[f"ann@{domain}"]]
        assert relay.sink.taken == []

    def test_is_in_force_at_once_on_a_connection_that_is_open_and_so_is_its_end(
        self, relay: InstalledRelay, peer: ScriptedPeer, domain: str
    ) -> None:
        with lmtp(relay) as client:
            for _ in range(3):
                assert client.deliver(f"ann@{domain}")[0][0] == 250
                relay.ctl("block", "add", domain)
                assert client.deliver(f"ann@{domain}") == [BLOCKED]
                relay.ctl("block", "remove", domain)
        assert len(peer.seen) == 3

    def test_goes_by_neither_road(self, relay: InstalledRelay, peer: ScriptedPeer, domain: str) -> None:
        relay.ctl("block", "add", domain)
        assert https_only(relay, f"ann@{domain}") == (BLOCKED[0], BLOCKED[1].encode())
        relay.ctl("route", "set", domain, "--https", "never")
        assert deliver(relay, f"ann@{domain}") == [BLOCKED]
        assert peer.seen == []
        assert relay.sink.taken == []

    def test_sub_domains_are_those_below(
        self, relay: InstalledRelay, peer: ScriptedPeer, domain: str
    ) -> None:
        relay.dns.zone[f"sub.{domain}", "A"] = ["127.0.0.2"]
        relay.ctl("block", "add", f".{domain}")
        assert deliver(relay, f"ann@{domain}", f"ann@sub.{domain}") == [(250, "2.0.0 OK"), BLOCKED]

    def test_a_blocked_network_is_the_domain_of_its_literals(
        self, relay: InstalledRelay, peer: ScriptedPeer
    ) -> None:
        relay.ctl("block", "add", "127.0.0.2")
        try:
            recipients = ("ann@[127.0.0.2]", "ann@127.0.0.2", "ann@[IPv6:::ffff:127.0.0.2]")
            assert deliver(relay, *recipients) == [BLOCKED] * 3
        finally:
            relay.ctl("block", "remove", "127.0.0.2")
        assert deliver(relay, "ann@[127.0.0.2]")[0][0] == 250

    def test_a_recipient_that_only_smtp_could_name_is_refused_too(
        self, relay: InstalledRelay, peer: ScriptedPeer, domain: str
    ) -> None:
        relay.ctl("block", "add", domain)
        assert deliver(relay, f'"a b"@{domain.upper()}') == [BLOCKED]


class TestFederation:
    def test_a_closed_one_sends_to_the_listed_alone_by_both_roads(
        self, relay: InstalledRelay, peer: ScriptedPeer, domain: str, other: str
    ) -> None:
        relay.ctl("federation", "closed")
        assert deliver(relay, f"ann@{domain}") == [CLOSED]
        relay.ctl("federation", "add", domain)
        assert deliver(relay, f"ann@{domain}", f"ann@{other}") == [(250, "2.0.0 OK"), CLOSED]
        assert https_only(relay, f"ann@{domain}")[0] == 250
        assert https_only(relay, f"ann@{other}") == (CLOSED[0], CLOSED[1].encode())
        relay.ctl("federation", "open")
        assert deliver(relay, f"ann@{other}")[0][0] == 250

    def test_an_open_one_sends_to_all_but_the_listed(
        self, relay: InstalledRelay, peer: ScriptedPeer, domain: str
    ) -> None:
        relay.ctl("federation", "add", domain)
        assert deliver(relay, f"ann@{domain}") == [CLOSED]
        relay.ctl("federation", "remove", domain)
        assert deliver(relay, f"ann@{domain}")[0][0] == 250


def test_the_log_tells_why_and_of_whom_no_more_than_the_domain(
    relay: InstalledRelay, peer: ScriptedPeer, domain: str
) -> None:
    relay.ctl("block", "add", domain)
    deliver(relay, f"somebody-nobody-names@{domain}")
    assert f"event=refused domain={domain} reason=blocked queue=-" in relay.log
    assert "somebody-nobody-names" not in relay.log


def test_a_store_that_can_not_be_read_means_later(
    relay: InstalledRelay, peer: ScriptedPeer, domain: str
) -> None:
    relay.ctl("block", "add", domain)
    with store_without(relay, "policy"):
        assert deliver(relay, f"ann@{domain}") == [(451, "4.3.0 Policy can't be read, try again later")]
        assert https_only(relay, f"ann@{domain}")[0] == 451
    assert deliver(relay, f"ann@{domain}") == [BLOCKED]
