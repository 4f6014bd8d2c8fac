"""The proof before the first message: which domains must give it, what refutes it, its lifetime and cost."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta

import pytest

from chatmail_milter.store.endpoint_hosts import EndpointHosts
from chatmail_milter.store.engine import open_store
from tests.blackbox.relay.deployed_receivers import CATCH_ALL, Filtermail, Madmail, always
from tests.blackbox.relay.installed_relay import (
    NUMBERS,
    InstalledRelay,
    ScriptedPeer,
    SeenPost,
    answer,
    deliver,
    lmtp,
)
from tests.chat.deadline import until

HTTPS = (250, "2.0.0 OK")
SMTP = (250, "2.0.0 Ok: queued as SINK")
ENCRYPTED = b"From: u@_here.test\r\n\r\n-----BEGIN PGP MESSAGE-----\r\n"


@pytest.mark.parametrize("name", CATCH_ALL)
def test_a_web_server_that_says_yes_gets_no_message_and_is_asked_once(
    relay: InstalledRelay, peer: ScriptedPeer, unproven: str, name: str
) -> None:
    peer.script, peer.proof = always(CATCH_ALL[name]), None
    for _ in range(3):
        assert deliver(relay, f"ann@{unproven}") == [SMTP]
    assert (len(peer.probes), len(peer.seen)) == (1, 0)
    assert len(relay.sink.taken) == 3
    status = CATCH_ALL[name][0]
    assert relay.peers_row(unproven, "https", 1)["reasons"] == {f"http-{status}": 1}


def test_so_is_one_behind_an_mx_that_is_away(
    relay: InstalledRelay, peer: ScriptedPeer, unproven: str
) -> None:
    """The mail domain itself is the last target: the website of an ordinary mail domain."""
    relay.dns.zone[f"mx{unproven}", "A"] = ["127.0.0.3"]
    relay.dns.zone[unproven, "MX"] = [f"10 mx{unproven}."]
    peer.proof = answer(200, b"250 OK")
    assert deliver(relay, f"ann@{unproven}") == [SMTP]
    assert peer.seen == []


def test_the_proof_is_an_empty_post_without_recipients(
    relay: InstalledRelay, peer: ScriptedPeer, unproven: str
) -> None:
    assert deliver(relay, f"ann@{unproven}") == [HTTPS]
    (probe,) = peer.probes
    assert (probe.path, probe.body) == ("/mxdeliv", b"")
    assert probe.values("X-Mail-To") == []
    assert probe.values("X-Mail-From") == [""]
    assert probe.values("Content-Length") == ["0"]


def test_it_costs_one_request_on_the_connection_of_the_message(
    relay: InstalledRelay, peer: ScriptedPeer, unproven: str
) -> None:
    before = peer.connections
    with lmtp(relay) as client:
        for _ in range(5):
            assert client.deliver(f"ann@{unproven}") == [HTTPS]
    assert (len(peer.probes), len(peer.seen), peer.connections - before) == (1, 5, 1)


def delivered_at_once(
    relay: InstalledRelay, peer: ScriptedPeer, domain: str, count: int, go: threading.Event
) -> list[tuple[int, str]]:
    """How so many messages were answered that were all there before the peer answered the first question."""
    found: list[tuple[int, str]] = []
    letters = [
        threading.Thread(target=lambda n=n: found.extend(deliver(relay, f"u{n}@{domain}")))
        for n in range(count)
    ]
    for letter in letters:
        letter.start()
    until("one asks", lambda: peer.probes, 10, every=0.01)
    go.set()
    for letter in letters:
        letter.join(120)
    return found


def test_many_at_once_ask_once_and_go_together(
    relay: InstalledRelay, peer: ScriptedPeer, unproven: str
) -> None:
    go, together = threading.Event(), threading.Barrier(8, timeout=120)

    def slowly(seen: SeenPost) -> tuple[int, dict[str, str], bytes]:
        go.wait(120)
        return answer(400)(seen)

    def all_at_once(seen: SeenPost) -> tuple[int, dict[str, str], bytes]:
        together.wait()
        return answer(200, b"OK")(seen)

    peer.proof, peer.script = slowly, all_at_once
    assert delivered_at_once(relay, peer, unproven, 8, go) == [HTTPS] * 8
    assert len(peer.probes) == 1


def test_all_that_wait_go_by_smtp_where_there_is_no_proof(
    relay: InstalledRelay, peer: ScriptedPeer, unproven: str
) -> None:
    go = threading.Event()

    def slowly(seen: SeenPost) -> tuple[int, dict[str, str], bytes]:
        go.wait(120)
        return answer(200)(seen)

    peer.proof = slowly
    assert delivered_at_once(relay, peer, unproven, 6, go) == [SMTP] * 6
    assert (len(peer.probes), peer.seen) == (1, [])


@pytest.mark.parametrize(
    ("status", "body"),
    [(301, b""), (403, b"<html>"), (404, b"<html>"), (405, b""), (500, b""), (502, b"502 5.2.0 Bad gateway")],
)
def test_what_is_neither_proof_nor_refutation_is_asked_again_after_the_mark(
    relay: InstalledRelay, peer: ScriptedPeer, unproven: str, status: int, body: bytes
) -> None:
    peer.proof = answer(status, body)
    for _ in range(2):
        assert deliver(relay, f"ann@{unproven}") == [SMTP]
    assert (len(peer.probes), len(peer.seen)) == (1, 0)
    endpoint = relay.counted(unproven)
    assert endpoint["no_https_until"] is not None


def test_a_refutation_is_no_mark_and_runs_out(
    relay: InstalledRelay, peer: ScriptedPeer, unproven: str
) -> None:
    peer.proof = answer(200, b"OK")
    deliver(relay, f"ann@{unproven}")
    shown = relay.counted(unproven)
    assert shown["no_https_until"] is None
    (host,) = shown["hosts"]
    left = datetime.fromisoformat(host["disproven_until"]) - datetime.now(UTC)
    assert timedelta(minutes=59) < left <= timedelta(hours=1)
    an_hour_ago = datetime.now(UTC) - timedelta(minutes=61)
    engine = open_store(f"sqlite:///{relay.directory}/store.sqlite")
    EndpointHosts(engine).disproved(unproven, unproven, an_hour_ago)
    engine.dispose()
    peer.proof = answer(400)
    assert deliver(relay, f"ann@{unproven}") == [HTTPS]


def test_a_route_of_the_operators_needs_proof_too(
    relay: InstalledRelay, peer: ScriptedPeer, unproven: str
) -> None:
    """A route names a host; that it has a chatmail server may be a slip."""
    relay.ctl("route", "set", unproven, "127.0.0.2")
    peer.proof = answer(200, b"250 2.0.0 OK")
    assert deliver(relay, f"ann@{unproven}") == [SMTP]
    relay.ctl("route", "set", unproven, "127.0.0.2", "--https", "only")
    assert deliver(relay, f"ann@{unproven}")[0][0] == 451
    # A new route makes all be forgotten, and another target is another host.
    peer.proof = answer(400)
    relay.ctl("route", "set", unproven, "https://127.0.0.2/in")
    assert deliver(relay, f"ann@{unproven}") == [HTTPS]
    assert [seen.path for seen in peer.probes] == ["/mxdeliv", "/mxdeliv", "/in"]


class TestDoubt:
    """A host that had proved itself, and answers a message as no chatmail server does."""

    @pytest.mark.parametrize(
        "name", [n for n in CATCH_ALL if n not in ("a shorter health check", "one that reads like SMTP")]
    )
    def test_yes_in_other_words_is_a_refutation(
        self, relay: InstalledRelay, peer: ScriptedPeer, domain: str, name: str
    ) -> None:
        peer.script, peer.proof = always(CATCH_ALL[name]), None
        for _ in range(2):
            assert deliver(relay, f"ann@{domain}") == [SMTP]
        assert (len(peer.probes), len(peer.seen)) == (0, 1)

    @pytest.mark.parametrize(
        ("status", "body"), [(404, b""), (405, b""), (301, b""), (404, b"500 Invalid FROM")]
    )
    def test_another_has_to_prove_itself_again(
        self, relay: InstalledRelay, peer: ScriptedPeer, domain: str, status: int, body: bytes
    ) -> None:
        peer.script = answer(status, body)
        assert deliver(relay, f"ann@{domain}") == [SMTP]
        assert relay.counted(domain)["no_https_until"] is None
        peer.proof = answer(404)
        assert deliver(relay, f"ann@{domain}") == [SMTP]
        assert (len(peer.probes), len(peer.seen)) == (1, 1), "it is asked, and gets no second message"


class TestInTheWild:
    def test_filtermail(self, relay: InstalledRelay, peer: ScriptedPeer, unproven: str) -> None:
        peer.script, peer.proof = Filtermail({f"ann@{unproven}"}), None
        assert deliver(relay, f"ann@{unproven}", content=ENCRYPTED) == [HTTPS]
        assert deliver(relay, f"bob@{unproven}", content=ENCRYPTED)[0][0] == 550
        assert deliver(relay, f"ann@{unproven}")[0] == (
            523,
            "5.7.1 Encryption Needed: Invalid Unencrypted Mail",
        )
        assert (len(peer.probes), len(peer.seen)) == (1, 3)
        assert peer.script.delivered == [(f"ann@{unproven}", ENCRYPTED)]

    def test_madmail(self, relay: InstalledRelay, peer: ScriptedPeer, unproven: str) -> None:
        peer.script, peer.proof = Madmail({f"ann@{unproven}"}), None
        assert deliver(relay, f"ann@{unproven}", f"cy@{unproven}", content=ENCRYPTED) == [HTTPS] * 2
        assert deliver(relay, f"ann@{unproven}") == [SMTP], "SMTP is to say what is wrong with it"
        assert deliver(relay, f"ann@{unproven}", content=ENCRYPTED) == [HTTPS]
        assert (len(peer.probes), len(peer.seen)) == (1, 3)

    def test_ours_needs_no_second_proof_as_long_as_it_answers_in_json(
        self, relay: InstalledRelay, peer: ScriptedPeer, unproven: str
    ) -> None:
        row = {"address": f"ann@{unproven}", "code": 250, "status": "2.0.0", "text": "OK"}
        peer.script = answer(200, json.dumps({"recipients": [row]}).encode(), Content_Type="application/json")
        engine = open_store(f"sqlite:///{relay.directory}/store.sqlite")
        hosts = EndpointHosts(engine)
        nearly_over = datetime.now(UTC) - timedelta(hours=23)
        hosts.proved(unproven, unproven, nearly_over)
        deliver(relay, f"ann@{unproven}")
        assert hosts.of(unproven)[unproven].proven(datetime.now(UTC) + timedelta(hours=23))
        engine.dispose()
        assert peer.probes == []


def test_operators_see_it_in_words(relay: InstalledRelay, peer: ScriptedPeer) -> None:
    name = f"_d{next(NUMBERS)}.test"
    relay.dns.zone[name, "A"] = ["127.0.0.2"]
    peer.proof = answer(202)
    deliver(relay, f"ann@{name}")
    shown = relay.text("peers", "show", name)
    assert f"{name} accepts everything, so it is not a chatmail server" in shown
    relay.ctl("endpoints", "forget", name)
    peer.proof = answer(400)
    deliver(relay, f"ann@{name}")
    assert f"{name} proved to be a chatmail server" in relay.text("peers", "show", name)
