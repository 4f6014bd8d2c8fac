"""A refusal of one message, or of its size, does not mark the peer's HTTPS as broken."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from chatmail_milter.store.endpoint_hosts import EndpointHosts
from chatmail_milter.store.engine import open_store
from tests.blackbox.relay.deployed_receivers import Filtermail, Madmail
from tests.blackbox.relay.installed_relay import InstalledRelay, ScriptedPeer, accept_all, answer, deliver

HTTPS = (250, "2.0.0 OK")
SMTP = (250, "2.0.0 Ok: queued as SINK")
HEAD = b"From: u@_here.test\r\n\r\n-----BEGIN PGP MESSAGE-----\r\n"


def of_size(octets: int) -> bytes:
    """A message of so many octets."""
    lines = HEAD + (b"x" * 70 + b"\r\n") * (octets // 72 + 1)
    return lines[: octets - 2] + b"\r\n"


def mark(relay: InstalledRelay, domain: str) -> object:
    return relay.counted(domain)["no_https_until"]


def test_one_full_mailbox_at_madmail(relay: InstalledRelay, peer: ScriptedPeer, domain: str) -> None:
    peer.script = Madmail({f"ann@{domain}", f"bob@{domain}"}, full={f"bob@{domain}"})
    assert deliver(relay, f"bob@{domain}", content=HEAD) == [SMTP]
    assert mark(relay, domain) is None
    assert deliver(relay, f"ann@{domain}", content=HEAD) == [HTTPS]
    assert relay.peers_row(domain, "https", 2)["reasons"] == {"http-507": 1}


@pytest.mark.parametrize("status", [400, 403, 413, 422, 507])
def test_any_refusal_without_a_reply_is_of_one_message(
    relay: InstalledRelay, peer: ScriptedPeer, domain: str, status: int
) -> None:
    peer.script = answer(status, b"no")
    assert deliver(relay, f"ann@{domain}", content=of_size(5000)) == [SMTP]
    assert mark(relay, domain) is None
    peer.script = accept_all
    assert deliver(relay, f"ann@{domain}") == [HTTPS]


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_trouble_with_the_peer_marks_it(
    relay: InstalledRelay, peer: ScriptedPeer, domain: str, status: int
) -> None:
    peer.script = answer(status, b"<html>")
    assert deliver(relay, f"ann@{domain}") == [SMTP]
    assert mark(relay, domain) is not None
    assert deliver(relay, f"ann@{domain}") == [SMTP]
    assert len(peer.seen) == 1


def test_a_front_servers_limit_holds_for_larger_messages_only(
    relay: InstalledRelay, peer: ScriptedPeer, domain: str
) -> None:
    peer.script = Filtermail({f"ann@{domain}"})
    large, larger, small = of_size(1_500_000), of_size(1_600_000), of_size(1_000_000)
    assert deliver(relay, f"ann@{domain}", content=large) == [SMTP]
    assert mark(relay, domain) is None
    assert deliver(relay, f"ann@{domain}", content=larger) == [SMTP]
    assert deliver(relay, f"ann@{domain}", content=large) == [SMTP]
    assert [len(seen.body) for seen in peer.seen] == [1_500_000], "what is larger is not even sent"
    assert deliver(relay, f"ann@{domain}", content=small) == [HTTPS]
    between = of_size(1_200_000)
    assert deliver(relay, f"ann@{domain}", content=between) == [SMTP]
    assert deliver(relay, f"ann@{domain}", content=between) == [SMTP]
    assert [len(seen.body) for seen in peer.seen[1:]] == [1_000_000, 1_200_000], "the smallest refused counts"
    (host,) = relay.counted(domain)["hosts"]
    assert host["size_limit"] == 1_200_000
    assert f"{domain} refuses 1.2 MB and more" in relay.text("peers", "show", domain)


def test_a_limit_runs_out(relay: InstalledRelay, peer: ScriptedPeer, domain: str) -> None:
    engine = open_store(f"sqlite:///{relay.directory}/store.sqlite")
    EndpointHosts(engine).limited(domain, domain, 100, datetime.now(UTC) - timedelta(hours=25))
    engine.dispose()
    assert deliver(relay, f"ann@{domain}", content=of_size(5000)) == [HTTPS]
