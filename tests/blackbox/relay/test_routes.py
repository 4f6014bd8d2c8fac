"""Operator's routes are in force for the next message, and reach no forbidden address."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.blackbox.relay.installed_relay import NUMBERS, InstalledRelay, ScriptedPeer, deliver, lmtp

HTTPS = (250, "2.0.0 OK")
SMTP = (250, "2.0.0 Ok: queued as SINK")
FORBIDDEN = (550, "5.1.2 Recipient domain resolves to an address that is not public")
NOT_PUBLIC = (451, "4.4.4 Recipient domain has no address that is public, try again later")
NO_SUCH_DOMAIN = (512, "5.1.2 Recipient domain does not exist")
# Of this host, and in no network that the relay is allowed.
TRAP = "127.0.0.9"


@pytest.fixture
def domain(relay: InstalledRelay) -> str:
    """A domain of the test's own, at whose address nobody listens."""
    name = f"_d{next(NUMBERS)}.test"
    relay.dns.zone[name, "A"] = ["127.0.0.3"]
    return name


@pytest.fixture
def trap() -> Iterator[socket.socket]:
    """Where nobody may connect; that nobody did is seen at the end."""
    with socket.create_server((TRAP, 443)) as listening:
        yield listening
        listening.setblocking(False)
        with pytest.raises(BlockingIOError):
            listening.accept()


@pytest.mark.parametrize(
    ("target", "host", "path"),
    [
        ("_Elsewhere.Test", "_elsewhere.test", "/mxdeliv"),
        ("127.0.0.2", None, "/mxdeliv"),
        ("https://_elsewhere.test:443/in/box", "_elsewhere.test", "/in/box"),
        ("https://127.0.0.2/", "127.0.0.2", "/mxdeliv"),
        ("[::ffff:127.0.0.2]", None, "/mxdeliv"),
    ],
)
def test_each_kind_counts_from_the_next_message_on_and_no_longer_than_it_is_set(
    relay: InstalledRelay, peer: ScriptedPeer, domain: str, target: str, host: str | None, path: str
) -> None:
    relay.dns.zone["_elsewhere.test", "A"] = ["127.0.0.2"]
    with lmtp(relay) as client:
        assert client.deliver(f"ann@{domain}") == [SMTP]
        relay.ctl("route", "set", domain, target)
        assert client.deliver(f"ann@{domain}") == [HTTPS]
        relay.ctl("route", "set", domain, target, "--https", "never")
        assert client.deliver(f"ann@{domain}") == [SMTP]
        relay.ctl("route", "remove", domain)
        assert client.deliver(f"ann@{domain}") == [SMTP]
    assert [(seen.values("Host"), seen.path) for seen in peer.seen] == [([host or domain], path)]


def test_a_target_that_is_away_leaves_smtp_or_if_that_must_not_be_the_queue(
    relay: InstalledRelay, peer: ScriptedPeer, domain: str
) -> None:
    relay.ctl("route", "set", domain, "127.0.0.4")
    assert deliver(relay, f"ann@{domain}") == [SMTP]
    relay.ctl("route", "set", domain, "127.0.0.4", "--https", "only")
    assert deliver(relay, f"ann@{domain}")[0][0] == 451
    assert len(relay.sink.taken) == 1


def test_verification_can_be_asked_for_where_it_is_not_usual(
    relay: InstalledRelay, peer: ScriptedPeer, domain: str
) -> None:
    relay.ctl("route", "set", domain, "127.0.0.2", "--verify", "--https", "only")
    assert deliver(relay, f"ann@{domain}")[0][0] == 451
    assert peer.seen == []


@pytest.mark.parametrize(
    "target",
    [
        TRAP,
        "_trap.test",
        f"https://{TRAP}/mxdeliv",
        "https://_trap.test/mxdeliv",
        f"[::ffff:{TRAP}]",
        f"https://[::ffff:{TRAP}]/mxdeliv",
        "https://[::1]/",
        "_mapped.test",
        "_nat64.test",
        "_6to4.test",
    ],
)
def test_no_target_leads_past_the_guard(
    relay: InstalledRelay, peer: ScriptedPeer, domain: str, trap: socket.socket, target: str
) -> None:
    relay.dns.zone["_trap.test", "A"] = [TRAP]
    relay.dns.zone["_mapped.test", "AAAA"] = [f"::ffff:{TRAP}"]
    relay.dns.zone["_nat64.test", "AAAA"] = ["64:ff9b::7f00:9"]
    relay.dns.zone["_6to4.test", "AAAA"] = ["2002:7f00:9::1"]
    relay.ctl("route", "set", domain, target)
    assert deliver(relay, f"ann@{domain}") == [NOT_PUBLIC]
    assert relay.sink.taken == []


@pytest.mark.parametrize(
    ("literal", "told"),
    [
        (f"[{TRAP}]", FORBIDDEN),
        (f"[IPv6:::ffff:{TRAP}]", FORBIDDEN),
        (f"[IPv6:::{TRAP}]", FORBIDDEN),
        ("[IPv6:64:ff9b::7f00:9]", FORBIDDEN),
        ("[IPv6:2002:7f00:9::1]", FORBIDDEN),
        ("[IPv6:fe80::1]", FORBIDDEN),
        ("[0.0.0.0]", FORBIDDEN),
        # What the C library takes for addresses are names to us, and are asked of DNS.
        ("127.9", NO_SUCH_DOMAIN),
        ("2130706441", NO_SUCH_DOMAIN),
        ("0x7f000009", NO_SUCH_DOMAIN),
        ("0177.0.0.011", NO_SUCH_DOMAIN),
    ],
)
def test_no_literal_leads_past_the_guard(
    relay: InstalledRelay, peer: ScriptedPeer, trap: socket.socket, literal: str, told: tuple[int, str]
) -> None:
    assert deliver(relay, f"ann@{literal}") == [told]
    assert relay.sink.taken == []
