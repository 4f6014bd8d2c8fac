"""The installed relay counts attempts, latency and errors of each peer; `chatmailctl` shows them."""

from __future__ import annotations

import threading
import time

from tests.blackbox.relay.installed_relay import (
    InstalledRelay,
    ScriptedPeer,
    SeenPost,
    accept_all,
    answer,
    deliver,
    refuse_the_empty,
)


def test_half_of_the_deliveries_took_no_longer_than_p50(
    relay: InstalledRelay, peer: ScriptedPeer, domain: str
) -> None:
    never = threading.Event()

    def script(seen: SeenPost) -> tuple[int, dict[str, str], bytes]:
        never.wait(1.0 if len(peer.seen) % 10 == 0 else 0.0)  # the peer's own time is what is measured
        return accept_all(seen)

    peer.script = script
    seen_by_us = []
    for _ in range(10):
        began = time.monotonic()
        deliver(relay, f"ann@{domain}")
        seen_by_us.append(time.monotonic() - began)
    row = relay.peers_row(domain, "https", 10)
    # Quantiles are within 9.1 % of the true ones (2^(1/8)), which are less than what we saw from outside.
    assert row["p50_latency"] <= 1.091 * sorted(seen_by_us)[4]
    assert 0.91 <= row["p95_latency"] <= 1.091 * max(seen_by_us)


class TestLastErrors:
    def test_a_refusal_in_the_peers_words_without_the_recipient(
        self, relay: InstalledRelay, peer: ScriptedPeer, domain: str
    ) -> None:
        said = f"550 5.1.1 <ann@{domain}>: ann \x1b[31mis\x07 unknown to u@_here.test\r\n"
        peer.script = answer(422, said.encode())
        assert deliver(relay, f"ann@{domain}")[0][0] == 550
        (error,) = relay.shown(domain, lambda peer: peer["errors"])["errors"]
        assert (error["road"], error["reason"]) == ("https", "refused-550")
        assert error["words"] == "550 5.1.1 <…>: … [31mis unknown to …"

    def test_what_a_web_server_said(self, relay: InstalledRelay, peer: ScriptedPeer, domain: str) -> None:
        peer.script = answer(404, b"<h1>Not Found</h1>\n" + b"x" * 5000)
        deliver(relay, f"ann@{domain}")
        (error,) = relay.shown(domain, lambda peer: peer["errors"])["errors"]
        assert error["reason"] == "http-404"
        assert error["words"].startswith("404 <h1>Not Found</h1> xxx")
        assert len(error["words"]) == 200

    def test_what_tls_said(self, relay: InstalledRelay, peer: ScriptedPeer) -> None:
        # The peer's certificate is for another name, and nobody signed it.
        relay.dns.zone["strict.test", "A"] = ["127.0.0.2"]
        deliver(relay, "ann@strict.test")
        (error,) = relay.shown("strict.test", lambda peer: peer["errors"])["errors"]
        assert error["reason"] == "tls"
        assert "certificate verify failed" in error["words"]

    def test_what_the_kernel_said(self, relay: InstalledRelay, domain: str) -> None:
        relay.dns.zone[domain, "A"] = ["127.0.0.3"]
        deliver(relay, f"ann@{domain}")
        (error,) = relay.shown(domain, lambda peer: peer["errors"])["errors"]
        assert error["reason"] == "connect"
        assert "refused" in error["words"]
        assert "ann" not in error["words"]


def test_marks_show_and_end_by_the_operators_word(
    relay: InstalledRelay, peer: ScriptedPeer, unproven: str
) -> None:
    domain, peer.proof = unproven, answer(404)
    deliver(relay, f"ann@{domain}")
    found = relay.counted(domain)
    assert found["no_https_until"] is not None
    assert found["endpoint"]["reason"] == "http-404"
    peer.proof = refuse_the_empty
    relay.ctl("endpoints", "forget", domain)
    peer.seen.clear()
    deliver(relay, f"ann@{domain}")
    assert len(peer.seen) == 1
    found = relay.shown(domain, lambda peer: peer["roads"][0]["successes"])
    assert (found["no_https_until"], found["endpoint"]["host"]) == (None, domain)


def test_a_new_route_is_taken_although_https_was_marked_away(
    relay: InstalledRelay, peer: ScriptedPeer, domain: str
) -> None:
    relay.dns.zone[domain, "A"] = ["127.0.0.3"]
    deliver(relay, f"ann@{domain}")
    assert relay.shown(domain, lambda peer: peer["endpoint"])["no_https_until"] is not None
    relay.ctl("route", "set", domain, "127.0.0.2")
    deliver(relay, f"ann@{domain}")
    assert len(peer.seen) == 1
