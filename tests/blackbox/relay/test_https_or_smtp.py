"""The relay chooses HTTPS or SMTP for each domain, and replies for each recipient."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from tests.blackbox.relay.installed_relay import (
    MESSAGE,
    NUMBERS,
    InstalledRelay,
    ScriptedPeer,
    SeenPost,
    accept_all,
    answer,
    deliver,
    lmtp,
    refuse_the_empty,
)


class TestHttps:
    def test_group_mail_is_one_post_with_every_recipient_in_canonical_form(
        self, relay: InstalledRelay, peer: ScriptedPeer, domain: str
    ) -> None:
        found = deliver(relay, f"Ann@{domain.upper()}", f"bob@{domain}")
        assert [code for code, _ in found] == [250, 250]
        (seen,) = peer.seen
        assert seen.path == "/mxdeliv"
        assert seen.values("X-Mail-From") == ["u@_here.test"]
        assert seen.values("X-Mail-To") == [f"ann@{domain}", f"bob@{domain}"]
        assert seen.values("Accept") == ["application/json, text/plain"]
        assert seen.values("User-Agent")[0].startswith("mxdeliv-relay/")
        assert seen.body == MESSAGE
        assert relay.sink.taken == []

    def test_null_sender_is_an_empty_field(
        self, relay: InstalledRelay, peer: ScriptedPeer, domain: str
    ) -> None:
        deliver(relay, f"ann@{domain}", sender="")
        assert peer.seen[0].values("X-Mail-From") == [""]

    def test_message_crosses_octet_by_octet(
        self, relay: InstalledRelay, peer: ScriptedPeer, domain: str
    ) -> None:
        content = b"Subject: x\r\n\r\n.\r\n..\r\n.dot\r\n" + bytes(range(128, 256)) + b"\r\n\r\n"
        assert deliver(relay, f"ann@{domain}", content=content)[0][0] == 250
        assert peer.seen[0].body == content

    def test_thirty_megabytes_cross(self, relay: InstalledRelay, peer: ScriptedPeer, domain: str) -> None:
        content = (b"x" * 70 + b"\r\n") * 430_000
        assert deliver(relay, f"ann@{domain}", content=content)[0][0] == 250
        assert len(peer.seen[0].body) == len(content)

    def test_each_recipient_has_the_answer_that_the_peer_gave_it(
        self, relay: InstalledRelay, peer: ScriptedPeer, domain: str
    ) -> None:
        rows = [
            {"address": f"ann@{domain}", "code": 250, "status": "2.0.0", "text": "OK"},
            {"address": f"bob@{domain}", "code": 550, "status": "5.1.1", "text": "User unknown"},
        ]
        peer.script = answer(200, json.dumps({"recipients": rows}).encode(), Content_Type="application/json")
        assert deliver(relay, f"bob@{domain}", f"ann@{domain}") == [
            (550, "5.1.1 User unknown"),
            (250, "2.0.0 OK"),
        ]

    def test_final_refusal_goes_back_in_the_peers_words(
        self, relay: InstalledRelay, peer: ScriptedPeer, domain: str
    ) -> None:
        text = "5.7.1 Encryption Needed: Invalid Unencrypted Mail"
        peer.script = answer(403, f"523 {text}\r\n".encode())
        assert deliver(relay, f"ann@{domain}", f"bob@{domain}") == [(523, text)] * 2
        assert relay.sink.taken == []

    def test_temporary_refusal_leaves_the_mail_with_postfix(
        self, relay: InstalledRelay, peer: ScriptedPeer, domain: str
    ) -> None:
        peer.script = answer(503, b"451 4.3.0 Queue file write error\r\n")
        assert deliver(relay, f"ann@{domain}") == [(451, "4.3.0 Queue file write error")]
        assert relay.sink.taken == []

    def test_connection_is_kept_for_the_next_messages(
        self, relay: InstalledRelay, peer: ScriptedPeer, domain: str
    ) -> None:
        deliver(relay, f"ann@{domain}")
        before = peer.connections
        with lmtp(relay) as client:
            for _ in range(20):
                assert client.deliver(f"ann@{domain}")[0][0] == 250
        assert peer.connections == before

    def test_domains_of_one_letter_each_get_their_own_post(
        self, relay: InstalledRelay, peer: ScriptedPeer, domain: str
    ) -> None:
        other = f"_other{domain}"
        relay.dns.zone[other, "A"] = ["127.0.0.2"]
        found = deliver(relay, f"ann@{domain}", f"bob@{other}", f"cy@_nowhere{domain}", f"dan@{domain}")
        assert [code for code, _ in found] == [250, 250, 512, 250]
        posts = {seen.values("Host")[0]: seen.values("X-Mail-To") for seen in peer.seen}
        assert posts == {domain: [f"ann@{domain}", f"dan@{domain}"], other: [f"bob@{other}"]}

    def test_mx_hosts_come_before_the_domain_itself(
        self, relay: InstalledRelay, peer: ScriptedPeer, domain: str
    ) -> None:
        relay.dns.zone[f"mx1{domain}", "A"] = relay.dns.zone[f"mx2{domain}", "A"] = ["127.0.0.2"]
        relay.dns.zone[domain, "MX"] = [f"20 mx2{domain}.", f"10 mx1{domain}."]
        peer.script = lambda seen: accept_all(seen) if seen.values("Host") == [domain] else answer(404)(seen)
        deliver(relay, f"ann@{domain}")
        assert [seen.values("Host")[0] for seen in peer.seen] == [f"mx1{domain}", f"mx2{domain}", domain]
        peer.seen.clear()
        deliver(relay, f"ann@{domain}")
        assert [seen.values("Host")[0] for seen in peer.seen] == [domain], "what worked last is asked first"

    def test_ip_literal_is_posted_to_without_dns(self, relay: InstalledRelay, peer: ScriptedPeer) -> None:
        assert deliver(relay, "ann@[127.0.0.2]")[0][0] == 250
        assert peer.seen[0].values("X-Mail-To") == ["ann@[127.0.0.2]"]


class TestBackToPostfix:
    def test_refused_connection_goes_to_smtp_with_the_envelope_as_it_came(
        self, relay: InstalledRelay, peer: ScriptedPeer
    ) -> None:
        name = f"_D{next(NUMBERS)}.test"
        relay.dns.zone[name.lower(), "A"] = ["127.0.0.3"]
        content = b"Subject: x\r\n\r\n..\r\n" + bytes(range(128, 256)) + b"\r\n"
        logged = relay.log.count("event=handed-back onward=SINK queue=-\n")
        (found,) = deliver(relay, f"Ann@{name}", sender="U@_Here.test", content=content)
        assert relay.log.count("event=handed-back onward=SINK queue=-\n") == logged + 1
        assert found == (250, "2.0.0 Ok: queued as SINK")
        assert relay.sink.taken == [("U@_Here.test", [f"Ann@{name}"], content)]
        row = relay.peers_row(name.lower(), "https", 1)
        assert (row["successes"], row["reasons"]) == (0, {"connect": 1})

    def test_postfixs_answers_come_back_for_each_recipient(
        self, relay: InstalledRelay, peer: ScriptedPeer, domain: str
    ) -> None:
        peer.script = answer(404)
        relay.sink.refuse[f"bob@{domain}"] = "452 4.5.3 Too many recipients"
        found = deliver(relay, f"ann@{domain}", f"bob@{domain}")
        assert [code for code, _ in found] == [250, 452]

    @pytest.mark.parametrize(
        ("status", "body", "headers"),
        [
            (200, b"<html>Welcome</html>", {"Content_Type": "text/html"}),
            (200, b"", {}),
            (301, b"", {"Location": "https://127.0.0.2/elsewhere"}),
            (302, b"", {"Location": "/elsewhere"}),
            (404, b"404 page not found\n", {}),
            (405, b"", {"Allow": "GET"}),
            (413, b"<html>413 Request Entity Too Large</html>", {}),
            (502, b"<html>Bad gateway</html>", {}),
        ],
    )
    def test_ordinary_web_servers_are_no_peers(
        self,
        relay: InstalledRelay,
        peer: ScriptedPeer,
        domain: str,
        status: int,
        body: bytes,
        headers: dict[str, str],
    ) -> None:
        peer.script = answer(status, body, **headers)
        assert deliver(relay, f"ann@{domain}")[0] == (250, "2.0.0 Ok: queued as SINK")
        assert [seen.path for seen in peer.seen] == ["/mxdeliv"], "no redirect is followed"
        assert relay.peers_row(domain, "https", 1)["reasons"] == {f"http-{status}": 1}

    def test_domain_without_https_is_not_tried_again_at_once(
        self, relay: InstalledRelay, peer: ScriptedPeer, unproven: str
    ) -> None:
        domain, peer.proof = unproven, answer(404)
        deliver(relay, f"ann@{domain}")
        peer.proof = refuse_the_empty
        deliver(relay, f"ann@{domain}")
        assert (len(peer.probes), len(peer.seen)) == (1, 0)
        assert len(relay.sink.taken) == 2
        relay.ctl("endpoints", "forget", domain)
        deliver(relay, f"ann@{domain}")
        assert (len(peer.probes), len(peer.seen)) == (2, 1)
        assert len(relay.sink.taken) == 2

    def test_local_part_that_https_cannot_say_goes_by_smtp(
        self, relay: InstalledRelay, peer: ScriptedPeer, domain: str
    ) -> None:
        found = deliver(relay, f'"odd one"@{domain}', f"ann@{domain}")
        assert [code for code, _ in found] == [250, 250]
        assert peer.seen[0].values("X-Mail-To") == [f"ann@{domain}"]
        assert relay.sink.taken[0][1] == [f'"odd one"@{domain}']

    def test_certificate_for_another_name_is_refused_where_names_are_verified(
        self, relay: InstalledRelay, peer: ScriptedPeer
    ) -> None:
        name = f"d{next(NUMBERS)}.test"  # no underscore
        relay.dns.zone[name, "A"] = ["127.0.0.2"]
        deliver(relay, f"ann@{name}")
        assert peer.seen == []
        assert len(relay.sink.taken) == 1
        assert relay.peers_row(name, "https", 1)["reasons"] == {"tls": 1}


class TestRoutes:
    def test_route_counts_from_the_next_message_on(
        self, relay: InstalledRelay, peer: ScriptedPeer, domain: str
    ) -> None:
        relay.dns.zone[domain, "A"] = ["127.0.0.3"]  # where nobody listens
        relay.ctl("route", "set", domain, "127.0.0.2")
        assert deliver(relay, f"ann@{domain}")[0] == (250, "2.0.0 OK")
        assert peer.seen[0].values("Host") == [domain]
        relay.ctl("route", "set", domain, "https://127.0.0.2/deliver/here")
        deliver(relay, f"ann@{domain}")
        assert peer.seen[1].path == "/deliver/here"
        relay.ctl("route", "remove", domain)
        assert deliver(relay, f"ann@{domain}")[0] == (250, "2.0.0 Ok: queued as SINK")

    def test_https_never(self, relay: InstalledRelay, peer: ScriptedPeer, domain: str) -> None:
        relay.ctl("route", "set", domain, "--https", "never")
        assert deliver(relay, f"ann@{domain}")[0] == (250, "2.0.0 Ok: queued as SINK")
        assert peer.seen == []

    def test_https_only(self, relay: InstalledRelay, peer: ScriptedPeer, domain: str) -> None:
        relay.ctl("route", "set", domain, "--https", "only")
        peer.script = answer(404)
        assert deliver(relay, f"ann@{domain}")[0][0] == 451
        assert relay.sink.taken == []

    def test_one_post_per_recipient(self, relay: InstalledRelay, peer: ScriptedPeer, domain: str) -> None:
        relay.ctl("route", "set", domain, "--one-per-recipient")
        deliver(relay, f"ann@{domain}", f"bob@{domain}")
        assert [seen.values("X-Mail-To") for seen in peer.seen] == [[f"ann@{domain}"], [f"bob@{domain}"]]

    def test_verification_can_be_relaxed(self, relay: InstalledRelay, peer: ScriptedPeer) -> None:
        name = f"d{next(NUMBERS)}.test"
        relay.dns.zone[name, "A"] = ["127.0.0.2"]
        relay.ctl("route", "set", name, "--no-verify")
        assert deliver(relay, f"ann@{name}")[0] == (250, "2.0.0 OK")

    def test_route_does_not_lead_past_the_guard(
        self, relay: InstalledRelay, peer: ScriptedPeer, domain: str
    ) -> None:
        relay.ctl("route", "set", domain, "127.0.0.9")
        assert deliver(relay, f"ann@{domain}")[0] == (
            451,
            "4.4.4 Recipient domain has no address that is public, try again later",
        )

    def test_routed_domain_that_dns_does_not_know_waits_while_its_host_is_away(
        self, relay: InstalledRelay, peer: ScriptedPeer
    ) -> None:
        relay.ctl("route", "set", "_private.test", "127.0.0.3")
        assert deliver(relay, "ann@_private.test")[0][0] == 451


def test_successes_are_counted_with_the_time_they_took(
    relay: InstalledRelay, peer: ScriptedPeer, domain: str
) -> None:
    def slowly(seen: SeenPost) -> tuple[int, dict[str, str], bytes]:
        threading.Event().wait(0.1)  # the peer's own time, which is what is measured
        return accept_all(seen)

    peer.script = slowly
    began = time.monotonic()
    deliver(relay, f"ann@{domain}", f"bob@{domain}")
    most = time.monotonic() - began
    peer.script = answer(403, b"523 5.7.1 Encryption Needed: Invalid Unencrypted Mail\r\n")
    deliver(relay, f"ann@{domain}")
    row = relay.peers_row(domain, "https", 2)
    assert (row["successes"], row["failures"], row["reasons"]) == (1, 1, {"refused-523": 1})
    assert 0.1 <= row["mean_latency"] <= most


def test_certificate_of_the_right_name_is_taken_where_names_are_verified(tmp_path: Path) -> None:
    relay = InstalledRelay(tmp_path)
    try:
        peer = relay.peer("127.0.0.6", names=("peer.test",))
        relay.environment["SSL_CERT_FILE"] = str(tmp_path / "peer.test.pem")
        relay.dns.zone["example.test", "MX"] = ["10 peer.test."]
        relay.start()
        assert deliver(relay, "ann@example.test")[0] == (250, "2.0.0 OK")
        assert peer.seen[0].values("Host") == ["peer.test"]
        relay.dns.zone["example.test", "MX"] = ["10 other.test."]
        relay.dns.zone["other.test", "A"] = ["127.0.0.6"]
        assert deliver(relay, "ann@example.test")[0] == (250, "2.0.0 Ok: queued as SINK")
    finally:
        relay.close()
