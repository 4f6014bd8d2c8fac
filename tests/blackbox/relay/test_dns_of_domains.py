"""DNS of recipient domains, valid and broken: which host the relay asks, and its reply to Postfix."""

from __future__ import annotations

import socket

import pytest

from tests.blackbox.relay.installed_relay import InstalledRelay, ScriptedPeer, accept_all, answer, deliver

HTTPS = (250, "2.0.0 OK")
SMTP = (250, "2.0.0 Ok: queued as SINK")
LATER = (451, "4.4.3 Recipient domain lookup failed, try again later")
NO_HOST = (550, "5.4.4 Recipient domain has no mail host")


def hosts(peer: ScriptedPeer) -> list[str]:
    return [seen.values("Host")[0] for seen in peer.seen]


class TestBroken:
    @pytest.mark.parametrize("rcode", [1, 2, 4, 5, 9])
    def test_a_server_that_fails_is_asked_again_later(
        self, relay: InstalledRelay, peer: ScriptedPeer, domain: str, rcode: int
    ) -> None:
        relay.dns.rcodes[domain] = rcode
        assert deliver(relay, f"ann@{domain}") == [LATER]
        assert relay.sink.taken == []

    @pytest.mark.parametrize("raw", [None, b"", b"\0" * 12, b"garbage" * 10])
    def test_so_is_one_that_says_nothing_or_nonsense(
        self, relay: InstalledRelay, peer: ScriptedPeer, domain: str, raw: bytes | None
    ) -> None:
        relay.dns.raw[domain] = raw
        assert deliver(relay, f"ann@{domain}") == [LATER]

    def test_an_alias_of_itself(self, relay: InstalledRelay, peer: ScriptedPeer) -> None:
        relay.dns.zone["_loop.test", "CNAME"] = ["_loop.test."]
        assert deliver(relay, "ann@_loop.test")[0][0] in (451, 550)
        assert relay.sink.taken == []

    @pytest.mark.parametrize("name", ["missing.test", "1.2.3.4", "localhost"])
    def test_an_mx_that_leads_nowhere_leaves_the_domain_itself(
        self, relay: InstalledRelay, peer: ScriptedPeer, domain: str, name: str
    ) -> None:
        relay.dns.zone[domain, "MX"] = [f"10 {name}."]
        assert deliver(relay, f"ann@{domain}") == [HTTPS]
        assert hosts(peer) == [domain]

    def test_an_mx_that_leads_nowhere_and_no_address(self, relay: InstalledRelay, peer: ScriptedPeer) -> None:
        relay.dns.zone["_mx-only.test", "MX"] = ["10 missing.test."]
        assert deliver(relay, "ann@_mx-only.test") == [NO_HOST]

    def test_an_mx_whose_address_can_not_be_had_now(self, relay: InstalledRelay, peer: ScriptedPeer) -> None:
        relay.dns.zone["_half.test", "MX"] = ["10 ill-mx.test."]
        relay.dns.rcodes["ill-mx.test"] = 2
        assert deliver(relay, "ann@_half.test") == [LATER]

    def test_null_mx_beside_others_is_none(
        self, relay: InstalledRelay, peer: ScriptedPeer, domain: str
    ) -> None:
        relay.dns.zone[domain, "MX"] = ["0 .", f"10 {domain}."]
        assert deliver(relay, f"ann@{domain}") == [HTTPS]


class TestSound:
    def test_preference_before_name(self, relay: InstalledRelay, peer: ScriptedPeer, domain: str) -> None:
        for name in ("a", "z"):
            relay.dns.zone[f"{name}{domain}", "A"] = ["127.0.0.2"]
        relay.dns.zone[domain, "MX"] = [f"20 a{domain}.", f"5 z{domain}."]
        deliver(relay, f"ann@{domain}")
        assert hosts(peer) == [f"z{domain}"]

    def test_a_dead_mx_leaves_the_next(self, relay: InstalledRelay, peer: ScriptedPeer, domain: str) -> None:
        relay.dns.zone[f"dead{domain}", "A"] = ["127.0.0.3"]
        relay.dns.zone[f"mx{domain}", "A"] = ["127.0.0.2"]
        relay.dns.zone[domain, "MX"] = [f"5 dead{domain}.", f"20 mx{domain}."]
        assert deliver(relay, f"ann@{domain}") == [HTTPS]
        assert hosts(peer) == [f"mx{domain}"]

    def test_a_dead_ipv6_address_does_not_cost_the_message(
        self, relay: InstalledRelay, peer: ScriptedPeer, domain: str
    ) -> None:
        # Nobody listens there, and the guard lets none of it pass either way.
        relay.dns.zone[domain, "AAAA"] = ["::ffff:127.0.0.3", "2001:db8::1"]
        assert deliver(relay, f"ann@{domain}") == [HTTPS]

    def test_names_differ_in_case_only(self, relay: InstalledRelay, peer: ScriptedPeer, domain: str) -> None:
        relay.dns.zone[f"mx{domain}", "A"] = ["127.0.0.2"]
        relay.dns.zone[domain, "MX"] = [f"5 MX{domain.upper()}."]
        deliver(relay, f"ann@{domain}")
        assert hosts(peer) == [f"mx{domain}"]


class TestRebinding:
    """A name server that answers otherwise each time: the answer that is connected to is the one judged.

    The first of the two turns is for the question whether the domain's host is this one.
    """

    def test_from_good_to_bad(self, relay: InstalledRelay, peer: ScriptedPeer, domain: str) -> None:
        relay.dns.turns[domain, "A"] = [["127.0.0.2"]] * 2
        relay.dns.zone[domain, "A"] = ["127.0.0.9"]
        with socket.create_server(("127.0.0.9", 443)) as trap:
            assert deliver(relay, f"ann@{domain}") == [HTTPS]
            trap.setblocking(False)
            with pytest.raises(BlockingIOError):
                trap.accept()
        assert len(peer.seen) == 1

    def test_from_bad_to_good(self, relay: InstalledRelay, peer: ScriptedPeer, domain: str) -> None:
        relay.dns.turns[domain, "A"] = [["127.0.0.9"]] * 2
        with socket.create_server(("127.0.0.9", 443)) as trap:
            # By the second answer smtp(8) may have it; what it connects to is judged by itself.
            assert deliver(relay, f"ann@{domain}") == [SMTP]
            trap.setblocking(False)
            with pytest.raises(BlockingIOError):
                trap.accept()
        assert peer.seen == []

    def test_a_redirect_to_a_special_address_is_not_followed(
        self, relay: InstalledRelay, peer: ScriptedPeer, domain: str
    ) -> None:
        peer.script = answer(307, b"", Location="https://127.0.0.9/mxdeliv")
        with socket.create_server(("127.0.0.9", 443)) as trap:
            assert deliver(relay, f"ann@{domain}") == [SMTP]
            trap.setblocking(False)
            with pytest.raises(BlockingIOError):
                trap.accept()

    def test_nor_is_a_kept_connection_another_domains(
        self, relay: InstalledRelay, peer: ScriptedPeer, domain: str
    ) -> None:
        """Two domains at one address, one with its own name: each POST says which it is for."""
        other = f"_other{domain}"
        relay.dns.zone[other, "A"] = ["127.0.0.2"]
        peer.script = accept_all
        deliver(relay, f"ann@{domain}")
        deliver(relay, f"ann@{other}")
        assert hosts(peer) == [domain, other]
