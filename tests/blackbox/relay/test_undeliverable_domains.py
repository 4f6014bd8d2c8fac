"""Domains that accept no mail get a permanent refusal; the https-only port never returns mail to Postfix."""

from __future__ import annotations

import socket

import pytest

from tests.blackbox.relay.installed_relay import (
    InstalledRelay,
    ScriptedPeer,
    answer,
    deliver,
    https_only,
    lmtp,
    refuse_the_empty,
)

HTTPS = (250, "2.0.0 OK")
SMTP = (250, "2.0.0 Ok: queued as SINK")


def say_rcpt(relay: InstalledRelay, recipient: str) -> tuple[int, str]:
    """The answer to RCPT, in UTF-8 as Postfix would send it; smtplib alone would refuse it."""
    with lmtp(relay) as client:
        client.ehlo()
        client.docmd("MAIL FROM:<u@_here.test>")
        client.command_encoding = "utf-8"
        code, text = client.docmd(f"RCPT TO:<{recipient}>")
        return code, text.decode()


class TestNowhere:
    def test_null_mx(self, relay: InstalledRelay, peer: ScriptedPeer, domain: str) -> None:
        relay.dns.zone[domain, "MX"] = ["0 ."]
        assert deliver(relay, f"ann@{domain}") == [
            (556, "5.1.10 Recipient domain does not accept mail (null MX)")
        ]
        assert peer.seen == []

    def test_unknown_domain(self, relay: InstalledRelay, peer: ScriptedPeer) -> None:
        assert deliver(relay, "ann@nowhere.test") == [(512, "5.1.2 Recipient domain does not exist")]

    def test_ill_dns_is_asked_again_later(self, relay: InstalledRelay, peer: ScriptedPeer) -> None:
        relay.dns.rcodes["servfail.test"] = 2
        assert deliver(relay, "ann@servfail.test")[0][0] == 451
        assert relay.sink.taken == []

    def test_domain_with_neither_mx_nor_address(self, relay: InstalledRelay, peer: ScriptedPeer) -> None:
        relay.dns.zone["_txt.test", "TXT"] = ["x"]
        assert deliver(relay, "ann@_txt.test")[0] == (550, "5.4.4 Recipient domain has no mail host")
        assert relay.sink.taken == []

    @pytest.mark.parametrize("address", ["127.0.0.9", "10.0.0.1", "169.254.169.254"])
    def test_domain_at_a_special_address_is_never_connected_to(
        self, relay: InstalledRelay, peer: ScriptedPeer, domain: str, address: str
    ) -> None:
        relay.dns.zone[domain, "A"] = [address]
        with socket.create_server(("127.0.0.9", 443)) as trap:
            assert deliver(relay, f"ann@{domain}") == [
                (451, "4.4.4 Recipient domain has no address that is public, try again later")
            ]
            trap.setblocking(False)
            with pytest.raises(BlockingIOError):
                trap.accept()
        assert relay.sink.taken == [], "nor may Postfix connect there"

    @pytest.mark.parametrize("special", ["10.0.0.1", "127.0.0.9", "192.31.196.1", "203.0.113.7"])
    def test_special_addresses_among_others_are_ignored_by_both_roads(
        self, relay: InstalledRelay, peer: ScriptedPeer, domain: str, special: str
    ) -> None:
        relay.dns.zone[domain, "A"] = [special, "127.0.0.2"]
        assert deliver(relay, f"ann@{domain}") == [HTTPS]
        relay.dns.zone[domain, "MX"] = [f"10 inner{domain}.", f"20 {domain}."]
        relay.dns.zone[f"inner{domain}", "A"] = [special]
        assert deliver(relay, f"bob@{domain}") == [HTTPS]
        relay.ctl("route", "set", domain, "--https", "never")
        assert deliver(relay, f"ann@{domain}") == [SMTP]

    def test_an_mx_that_can_not_be_looked_up_leaves_the_others(
        self, relay: InstalledRelay, peer: ScriptedPeer, domain: str
    ) -> None:
        relay.dns.zone[domain, "MX"] = ["10 ill-mx.test.", f"20 {domain}."]
        relay.dns.rcodes["ill-mx.test"] = 2
        relay.ctl("route", "set", domain, "--https", "never")
        assert deliver(relay, f"ann@{domain}") == [SMTP]

    def test_special_literal_is_never_connected_to(self, relay: InstalledRelay, peer: ScriptedPeer) -> None:
        for literal in ("[127.0.0.9]", "[IPv6:::1]", "[IPv6:::ffff:10.0.0.1]", "10.0.0.1"):
            assert deliver(relay, f"ann@{literal}")[0][0] == 550
        assert relay.sink.taken == []

    def test_domain_with_this_host_as_its_mail_host(
        self, relay: InstalledRelay, peer: ScriptedPeer, domain: str
    ) -> None:
        relay.dns.zone[domain, "MX"] = ["10 _here.test."]
        loop = (550, "5.4.6 Mail for the recipient domain would come back to this server")
        assert deliver(relay, f"ann@{domain}") == [loop]
        assert https_only(relay, f"ann@{domain}") == (550, loop[1].encode())
        assert (peer.seen, relay.sink.taken) == ([], [])

    @pytest.mark.parametrize("local_part", ["j\u00fcrgen", '"j\u00fcrgen x"'])
    def test_local_part_that_is_not_ascii(
        self, relay: InstalledRelay, peer: ScriptedPeer, domain: str, local_part: str
    ) -> None:
        assert say_rcpt(relay, f"{local_part}@{domain}") == (501, "5.1.3 Bad recipient address syntax")
        assert (peer.seen, relay.sink.taken) == ([], [])


class TestHttpsOnly:
    def test_delivers(self, relay: InstalledRelay, peer: ScriptedPeer, domain: str) -> None:
        assert https_only(relay, f"ann@{domain}", f"bob@{domain}")[0] == 250
        assert peer.seen[0].values("Accept") == ["application/json, text/plain"]

    def test_never_hands_mail_back(self, relay: InstalledRelay, peer: ScriptedPeer, domain: str) -> None:
        peer.script = answer(404)
        code, text = https_only(relay, f"ann@{domain}")
        why = "4.4.1 Peer could be reached neither over HTTPS nor by SMTP, try again later"
        assert (code, text.decode()) == (451, why)
        assert relay.sink.taken == []

    def test_tries_a_domain_that_was_marked(
        self, relay: InstalledRelay, peer: ScriptedPeer, unproven: str
    ) -> None:
        domain, peer.proof = unproven, answer(404)
        deliver(relay, f"ann@{domain}")
        peer.proof = refuse_the_empty
        assert https_only(relay, f"ann@{domain}")[0] == 250
        peer.seen.clear()
        deliver(relay, f"ann@{domain}")
        assert len(peer.seen) == 1, "and thereby takes the mark away"

    def test_final_refusal_ends_it(self, relay: InstalledRelay, peer: ScriptedPeer, domain: str) -> None:
        peer.script = answer(422, b"550 5.1.1 No such user\r\n")
        assert https_only(relay, f"ann@{domain}") == (550, b"5.1.1 No such user")

    def test_second_domain_waits_for_its_own_transaction(
        self, relay: InstalledRelay, peer: ScriptedPeer, domain: str
    ) -> None:
        assert https_only(relay, f"ann@{domain}", "bob@_other.test")[0] == 452
