"""Which road the relay takes, and what each recipient is answered: the installed program and its peers."""

from __future__ import annotations

import itertools
import json
import smtplib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.blackbox.relay_world import MESSAGE, Peer, Seen, World, accept_all, answer, lmtp

NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = World(tmp_path_factory.mktemp("relay"))
    try:
        world.peer()
    except PermissionError:
        world.close()
        pytest.skip("peers listen on port 443, which may not be bound here")
    world.start()
    yield world
    world.close()


@pytest.fixture
def peer(world: World) -> Peer:
    peer = world.peers[0]
    peer.script = accept_all
    peer.seen.clear()
    world.sink.taken.clear()
    world.sink.refuse.clear()
    return peer


@pytest.fixture
def domain(world: World) -> str:
    """A domain of its own for each test, at the peer's address: what is learnt of one is not of another."""
    name = f"_d{next(NUMBERS)}.test"
    world.dns.zone[name, "A"] = ["127.0.0.2"]
    return name


def deliver(world: World, *recipients: str, **settings: str | bytes) -> list[tuple[int, str]]:
    with lmtp(world) as client:
        return client.deliver(*recipients, **settings)  # type: ignore[arg-type]


def https_only(world: World, *recipients: str) -> tuple[int, bytes]:
    with smtplib.SMTP("127.0.0.1", world.https_only_port) as client:
        client.ehlo()
        client.mail("u@_here.test")
        for recipient in recipients:
            code, text = client.rcpt(recipient)
            if code != 250:
                return code, text
        return client.data(MESSAGE)


class TestHttps:
    def test_group_mail_is_one_post_with_every_recipient_in_canonical_form(
        self, world: World, peer: Peer, domain: str
    ) -> None:
        found = deliver(world, f"Ann@{domain.upper()}", f"bob@{domain}")
        assert [code for code, _ in found] == [250, 250]
        (seen,) = peer.seen
        assert seen.path == "/mxdeliv"
        assert seen.values("X-Mail-From") == ["u@_here.test"]
        assert seen.values("X-Mail-To") == [f"ann@{domain}", f"bob@{domain}"]
        assert seen.values("Accept") == ["application/json, text/plain"]
        assert seen.values("User-Agent")[0].startswith("mxdeliv-relay/")
        assert seen.body == MESSAGE
        assert world.sink.taken == []

    def test_null_sender_is_an_empty_field(self, world: World, peer: Peer, domain: str) -> None:
        deliver(world, f"ann@{domain}", sender="")
        assert peer.seen[0].values("X-Mail-From") == [""]

    def test_message_crosses_octet_by_octet(self, world: World, peer: Peer, domain: str) -> None:
        content = b"Subject: x\r\n\r\n.\r\n..\r\n.dot\r\n" + bytes(range(128, 256)) + b"\r\n\r\n"
        assert deliver(world, f"ann@{domain}", content=content)[0][0] == 250
        assert peer.seen[0].body == content

    def test_thirty_megabytes_cross(self, world: World, peer: Peer, domain: str) -> None:
        content = (b"x" * 70 + b"\r\n") * 430_000
        assert deliver(world, f"ann@{domain}", content=content)[0][0] == 250
        assert len(peer.seen[0].body) == len(content)

    def test_each_recipient_has_the_answer_that_the_peer_gave_it(
        self, world: World, peer: Peer, domain: str
    ) -> None:
        rows = [
            {"address": f"ann@{domain}", "code": 250, "status": "2.0.0", "text": "OK"},
            {"address": f"bob@{domain}", "code": 550, "status": "5.1.1", "text": "User unknown"},
        ]
        peer.script = answer(200, json.dumps({"recipients": rows}).encode(), Content_Type="application/json")
        assert deliver(world, f"bob@{domain}", f"ann@{domain}") == [
            (550, "5.1.1 User unknown"),
            (250, "2.0.0 OK"),
        ]

    def test_final_refusal_goes_back_in_the_peers_words(self, world: World, peer: Peer, domain: str) -> None:
        text = "5.7.1 Encryption Needed: Invalid Unencrypted Mail"
        peer.script = answer(403, f"523 {text}\r\n".encode())
        assert deliver(world, f"ann@{domain}", f"bob@{domain}") == [(523, text)] * 2
        assert world.sink.taken == []

    def test_temporary_refusal_leaves_the_mail_with_postfix(
        self, world: World, peer: Peer, domain: str
    ) -> None:
        peer.script = answer(503, b"451 4.3.0 Queue file write error\r\n")
        assert deliver(world, f"ann@{domain}") == [(451, "4.3.0 Queue file write error")]
        assert world.sink.taken == []

    def test_connection_is_kept_for_the_next_messages(self, world: World, peer: Peer, domain: str) -> None:
        deliver(world, f"ann@{domain}")
        before = peer.connections
        with lmtp(world) as client:
            for _ in range(20):
                assert client.deliver(f"ann@{domain}")[0][0] == 250
        assert peer.connections == before

    def test_domains_of_one_letter_each_get_their_own_post(
        self, world: World, peer: Peer, domain: str
    ) -> None:
        other = f"_other{domain}"
        world.dns.zone[other, "A"] = ["127.0.0.2"]
        found = deliver(world, f"ann@{domain}", f"bob@{other}", f"cy@_nowhere{domain}", f"dan@{domain}")
        assert [code for code, _ in found] == [250, 250, 512, 250]
        posts = {seen.values("Host")[0]: seen.values("X-Mail-To") for seen in peer.seen}
        assert posts == {domain: [f"ann@{domain}", f"dan@{domain}"], other: [f"bob@{other}"]}

    def test_mx_hosts_come_before_the_domain_itself(self, world: World, peer: Peer, domain: str) -> None:
        world.dns.zone[f"mx1{domain}", "A"] = world.dns.zone[f"mx2{domain}", "A"] = ["127.0.0.2"]
        world.dns.zone[domain, "MX"] = [f"20 mx2{domain}.", f"10 mx1{domain}."]
        peer.script = lambda seen: accept_all(seen) if seen.values("Host") == [domain] else answer(404)(seen)
        deliver(world, f"ann@{domain}")
        assert [seen.values("Host")[0] for seen in peer.seen] == [f"mx1{domain}", f"mx2{domain}", domain]
        peer.seen.clear()
        deliver(world, f"ann@{domain}")
        assert [seen.values("Host")[0] for seen in peer.seen] == [domain], "what worked last is asked first"

    def test_ip_literal_is_posted_to_without_dns(self, world: World, peer: Peer) -> None:
        assert deliver(world, "ann@[127.0.0.2]")[0][0] == 250
        assert peer.seen[0].values("X-Mail-To") == ["ann@[127.0.0.2]"]


class TestBackToPostfix:
    def test_refused_connection_goes_to_smtp_with_the_envelope_as_it_came(
        self, world: World, peer: Peer
    ) -> None:
        name = f"_D{next(NUMBERS)}.test"
        world.dns.zone[name.lower(), "A"] = ["127.0.0.3"]
        content = b"Subject: x\r\n\r\n..\r\n" + bytes(range(128, 256)) + b"\r\n"
        (found,) = deliver(world, f"Ann@{name}", sender="U@_Here.test", content=content)
        assert found == (250, "2.0.0 Ok: queued as SINK")
        assert world.sink.taken == [("U@_Here.test", [f"Ann@{name}"], content)]
        row = world.peers_row(name.lower(), "https", 1)
        assert (row["successes"], row["reasons"]) == (0, {"connect": 1})

    def test_postfixs_answers_come_back_for_each_recipient(
        self, world: World, peer: Peer, domain: str
    ) -> None:
        peer.script = answer(404)
        world.sink.refuse[f"bob@{domain}"] = "452 4.5.3 Too many recipients"
        found = deliver(world, f"ann@{domain}", f"bob@{domain}")
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
        self, world: World, peer: Peer, domain: str, status: int, body: bytes, headers: dict[str, str]
    ) -> None:
        peer.script = answer(status, body, **headers)
        assert deliver(world, f"ann@{domain}")[0] == (250, "2.0.0 Ok: queued as SINK")
        assert [seen.path for seen in peer.seen] == ["/mxdeliv"], "no redirect is followed"
        assert world.peers_row(domain, "https", 1)["reasons"] == {f"http-{status}": 1}

    def test_domain_without_https_is_not_tried_again_at_once(
        self, world: World, peer: Peer, domain: str
    ) -> None:
        peer.script = answer(404)
        deliver(world, f"ann@{domain}")
        peer.script = accept_all
        deliver(world, f"ann@{domain}")
        assert len(peer.seen) == 1
        assert len(world.sink.taken) == 2
        world.ctl("endpoints", "forget", domain)
        deliver(world, f"ann@{domain}")
        assert len(peer.seen) == 2
        assert len(world.sink.taken) == 2

    def test_local_part_that_https_cannot_say_goes_by_smtp(
        self, world: World, peer: Peer, domain: str
    ) -> None:
        found = deliver(world, f'"odd one"@{domain}', f"ann@{domain}")
        assert [code for code, _ in found] == [250, 250]
        assert peer.seen[0].values("X-Mail-To") == [f"ann@{domain}"]
        assert world.sink.taken[0][1] == [f'"odd one"@{domain}']

    def test_certificate_for_another_name_is_refused_where_names_are_verified(
        self, world: World, peer: Peer
    ) -> None:
        name = f"d{next(NUMBERS)}.test"  # no underscore
        world.dns.zone[name, "A"] = ["127.0.0.2"]
        deliver(world, f"ann@{name}")
        assert peer.seen == []
        assert len(world.sink.taken) == 1
        assert world.peers_row(name, "https", 1)["reasons"] == {"tls": 1}


def hang_at_once(connection: socket.socket, gone: threading.Event) -> None:
    gone.wait(20)


def hang_after_tls(connection: socket.socket, gone: threading.Event) -> None:
    connection.recv(65536)
    gone.wait(20)


def trickle(connection: socket.socket, gone: threading.Event) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    while not gone.wait(0.2):
        connection.sendall(b"2")


def garbage(connection: socket.socket, gone: threading.Event) -> None:
    received = b""
    while not received.endswith(MESSAGE):  # closing with something unread would be a reset, not garbage
        received += connection.recv(65536)
    connection.sendall(b"220 mail.example.org ESMTP\r\n")


def close_after_request(connection: socket.socket, gone: threading.Event) -> None:
    connection.recv(65536)


@pytest.mark.parametrize(
    ("behaviour", "tls", "reason"),
    [
        (hang_at_once, False, "tls-timeout"),
        (hang_after_tls, True, "timeout"),
        (trickle, True, "timeout"),
        (garbage, True, "protocol"),
        (close_after_request, True, "network"),
    ],
)
def test_ill_peer_costs_one_attempt_and_then_goes_by_smtp(
    world: World,
    peer: Peer,
    behaviour: Callable[[socket.socket, threading.Event], None],
    tls: bool,
    reason: str,
) -> None:
    name = f"_d{next(NUMBERS)}.test"
    world.dns.zone[name, "A"] = ["127.0.0.4"]
    gone = threading.Event()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(world.directory / "_peer.test.pem")

    def serve(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        try:
            behaviour(context.wrap_socket(connection, server_side=True) if tls else connection, gone)
        except OSError:
            gone.set()  # cut by the relay, as is its right
        connection.close()

    with socket.create_server(("127.0.0.4", 443)) as listening:
        thread = threading.Thread(target=serve, args=(listening,), daemon=True)
        thread.start()
        started = time.monotonic()
        (found,) = deliver(world, f"ann@{name}")
        took = time.monotonic() - started
        gone.set()
        thread.join(10)
    assert found == (250, "2.0.0 Ok: queued as SINK")
    assert took < 4
    assert world.peers_row(name, "https", 1)["reasons"] == {reason: 1}


def test_hanging_domain_does_not_delay_another(world: World, peer: Peer, domain: str) -> None:
    hanging = f"_d{next(NUMBERS)}.test"
    world.dns.zone[hanging, "A"] = ["127.0.0.5"]
    with socket.create_server(("127.0.0.5", 443)) as _never_accepts:
        arrived = threading.Event()

        def script(seen: Seen) -> tuple[int, dict[str, str], bytes]:
            arrived.set()
            return accept_all(seen)

        peer.script = script
        with lmtp(world) as client:
            delivery = threading.Thread(target=client.deliver, args=(f"ann@{hanging}", f"bob@{domain}"))
            delivery.start()
            assert arrived.wait(0.9), "well within the hanging attempt's second"
            delivery.join(20)


class TestNowhere:
    def test_null_mx(self, world: World, peer: Peer, domain: str) -> None:
        world.dns.zone[domain, "MX"] = ["0 ."]
        assert deliver(world, f"ann@{domain}") == [
            (556, "5.1.10 Recipient domain does not accept mail (null MX)")
        ]
        assert peer.seen == []

    def test_unknown_domain(self, world: World, peer: Peer) -> None:
        assert deliver(world, "ann@nowhere.test") == [(512, "5.1.2 Recipient domain does not exist")]

    def test_ill_dns_is_asked_again_later(self, world: World, peer: Peer) -> None:
        world.dns.rcodes["servfail.test"] = 2
        assert deliver(world, "ann@servfail.test")[0][0] == 451
        assert world.sink.taken == []

    def test_domain_with_neither_mx_nor_address(self, world: World, peer: Peer) -> None:
        world.dns.zone["_txt.test", "TXT"] = ["x"]
        assert deliver(world, "ann@_txt.test")[0] == (550, "5.4.4 Recipient domain has no mail host")
        assert world.sink.taken == []

    @pytest.mark.parametrize("address", ["127.0.0.9", "10.0.0.1", "169.254.169.254"])
    def test_domain_at_a_special_address_is_never_connected_to(
        self, world: World, peer: Peer, domain: str, address: str
    ) -> None:
        world.dns.zone[domain, "A"] = [address]
        with socket.create_server(("127.0.0.9", 443)) as trap:
            assert deliver(world, f"ann@{domain}") == [
                (550, "5.1.2 Recipient domain resolves to an address that is not public")
            ]
            trap.setblocking(False)
            with pytest.raises(BlockingIOError):
                trap.accept()
        assert world.sink.taken == [], "nor may Postfix connect there"

    def test_domain_of_which_one_mx_is_at_a_special_address_is_not_given_to_smtp(
        self, world: World, peer: Peer, domain: str
    ) -> None:
        world.dns.zone[domain, "MX"] = [f"10 {domain}.", f"20 inner{domain}."]
        world.dns.zone[f"inner{domain}", "A"] = ["10.0.0.1"]
        peer.script = answer(404)
        assert deliver(world, f"ann@{domain}")[0][0] == 550
        assert world.sink.taken == []

    def test_special_literal_is_never_connected_to(self, world: World, peer: Peer) -> None:
        for literal in ("[127.0.0.9]", "[IPv6:::1]", "[IPv6:::ffff:10.0.0.1]", "10.0.0.1"):
            assert deliver(world, f"ann@{literal}")[0][0] == 550
        assert world.sink.taken == []


class TestHttpsOnly:
    def test_delivers(self, world: World, peer: Peer, domain: str) -> None:
        assert https_only(world, f"ann@{domain}", f"bob@{domain}")[0] == 250
        assert peer.seen[0].values("Accept") == ["text/plain"], (
            "SMTP can't say who was refused: the peer must"
        )

    def test_never_hands_mail_back(self, world: World, peer: Peer, domain: str) -> None:
        peer.script = answer(404)
        code, text = https_only(world, f"ann@{domain}")
        assert (code, text.decode()) == (451, "4.4.1 Peer could not be reached over HTTPS, try again later")
        assert world.sink.taken == []

    def test_tries_a_domain_that_was_marked(self, world: World, peer: Peer, domain: str) -> None:
        peer.script = answer(404)
        deliver(world, f"ann@{domain}")
        peer.script = accept_all
        assert https_only(world, f"ann@{domain}")[0] == 250
        peer.seen.clear()
        deliver(world, f"ann@{domain}")
        assert len(peer.seen) == 1, "and thereby takes the mark away"

    def test_final_refusal_ends_it(self, world: World, peer: Peer, domain: str) -> None:
        peer.script = answer(422, b"550 5.1.1 No such user\r\n")
        assert https_only(world, f"ann@{domain}") == (550, b"5.1.1 No such user")

    def test_second_domain_waits_for_its_own_transaction(self, world: World, peer: Peer, domain: str) -> None:
        assert https_only(world, f"ann@{domain}", "bob@_other.test")[0] == 452


class TestRoutes:
    def test_route_counts_from_the_next_message_on(self, world: World, peer: Peer, domain: str) -> None:
        world.dns.zone[domain, "A"] = ["127.0.0.3"]  # where nobody listens
        world.ctl("route", "set", domain, "127.0.0.2")
        assert deliver(world, f"ann@{domain}")[0] == (250, "2.0.0 OK")
        assert peer.seen[0].values("Host") == [domain]
        world.ctl("route", "set", domain, "https://127.0.0.2/deliver/here")
        deliver(world, f"ann@{domain}")
        assert peer.seen[1].path == "/deliver/here"
        world.ctl("route", "unset", domain)
        assert deliver(world, f"ann@{domain}")[0] == (250, "2.0.0 Ok: queued as SINK")

    def test_https_never(self, world: World, peer: Peer, domain: str) -> None:
        world.ctl("route", "set", domain, "--https", "never")
        assert deliver(world, f"ann@{domain}")[0] == (250, "2.0.0 Ok: queued as SINK")
        assert peer.seen == []

    def test_https_only(self, world: World, peer: Peer, domain: str) -> None:
        world.ctl("route", "set", domain, "--https", "only")
        peer.script = answer(404)
        assert deliver(world, f"ann@{domain}")[0][0] == 451
        assert world.sink.taken == []

    def test_one_post_per_recipient(self, world: World, peer: Peer, domain: str) -> None:
        world.ctl("route", "set", domain, "--one-per-recipient")
        deliver(world, f"ann@{domain}", f"bob@{domain}")
        assert [seen.values("X-Mail-To") for seen in peer.seen] == [[f"ann@{domain}"], [f"bob@{domain}"]]

    def test_verification_can_be_relaxed(self, world: World, peer: Peer) -> None:
        name = f"d{next(NUMBERS)}.test"
        world.dns.zone[name, "A"] = ["127.0.0.2"]
        world.ctl("route", "set", name, "--no-verify")
        assert deliver(world, f"ann@{name}")[0] == (250, "2.0.0 OK")

    def test_route_does_not_lead_past_the_guard(self, world: World, peer: Peer, domain: str) -> None:
        world.ctl("route", "set", domain, "127.0.0.9")
        assert deliver(world, f"ann@{domain}")[0][0] == 550

    def test_routed_domain_that_dns_does_not_know_waits_while_its_host_is_away(
        self, world: World, peer: Peer
    ) -> None:
        world.ctl("route", "set", "_private.test", "127.0.0.3")
        assert deliver(world, "ann@_private.test")[0][0] == 451


def test_successes_are_counted_with_the_time_they_took(world: World, peer: Peer, domain: str) -> None:
    def slowly(seen: Seen) -> tuple[int, dict[str, str], bytes]:
        threading.Event().wait(0.1)  # the peer's own time, which is what is measured
        return accept_all(seen)

    peer.script = slowly
    deliver(world, f"ann@{domain}", f"bob@{domain}")
    peer.script = answer(403, b"523 5.7.1 Encryption Needed: Invalid Unencrypted Mail\r\n")
    deliver(world, f"ann@{domain}")
    row = world.peers_row(domain, "https", 2)
    assert (row["successes"], row["failures"], row["reasons"]) == (1, 1, {"refused-523": 1})
    assert 0.1 <= row["mean_latency"] < 1


def test_certificate_of_the_right_name_is_taken_where_names_are_verified(tmp_path: Path) -> None:
    world = World(tmp_path)
    try:
        try:
            peer = world.peer("127.0.0.6", names=("peer.test",))
        except PermissionError:
            pytest.skip("peers listen on port 443, which may not be bound here")
        world.environment["SSL_CERT_FILE"] = str(tmp_path / "peer.test.pem")
        world.dns.zone["example.test", "MX"] = ["10 peer.test."]
        world.start()
        assert deliver(world, "ann@example.test")[0] == (250, "2.0.0 OK")
        assert peer.seen[0].values("Host") == ["peer.test"]
        world.dns.zone["example.test", "MX"] = ["10 other.test."]
        world.dns.zone["other.test", "A"] = ["127.0.0.6"]
        assert deliver(world, "ann@example.test")[0] == (250, "2.0.0 Ok: queued as SINK")
    finally:
        world.close()
