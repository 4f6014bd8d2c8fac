"""`mxdeliv-relay` as a daemon: its LMTP dialogue, and that no violation, signal or restart loses mail."""

from __future__ import annotations

import signal
import smtplib
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.blackbox.relay.installed_relay import BIN, MESSAGE, InstalledRelay, SeenPost, accept_all, lmtp
from tests.chat.deadline import until


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[InstalledRelay]:
    relay = InstalledRelay(tmp_path)
    relay.dns.zone["_down.test", "A"] = ["127.0.0.3"]
    yield relay
    relay.close()


@pytest.fixture
def running(relay: InstalledRelay) -> InstalledRelay:
    relay.start()
    return relay


class Held:
    """A script for a peer that keeps a message until it is let go."""

    def __init__(self) -> None:
        self.arrived = threading.Event()
        self.go = threading.Event()

    def __call__(self, seen: SeenPost) -> tuple[int, dict[str, str], bytes]:
        self.arrived.set()
        self.go.wait(120)
        return accept_all(seen)


@pytest.fixture
def held(relay: InstalledRelay) -> Held:
    peer = relay.peer()
    peer.script = held = Held()
    return held


def dialogue(relay: InstalledRelay, script: str) -> None:
    """Play a transcript: lines `C: …` are sent, `S: …` are beginnings of what must come back."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(120)
        connection.connect(relay.lmtp_path)
        stream = connection.makefile("rwb")
        for step in filter(None, (line.strip() for line in script.splitlines())):
            who, _, text = step.partition(": ")
            if who == "C":
                stream.write(text.encode().decode("unicode_escape").encode("latin-1") + b"\r\n")
                stream.flush()
            else:
                heard = stream.readline().decode().rstrip()
                assert heard.startswith(text), f"{heard!r} instead of {text!r}"


def test_greeting_offers_what_postfix_uses(running: InstalledRelay) -> None:
    dialogue(
        running,
        """
        S: 220 localhost LMTP
        C: LHLO mail.test
        S: 250-localhost
        S: 250-PIPELINING
        S: 250-SIZE 76546048
        S: 250-8BITMIME
        S: 250-SMTPUTF8
        S: 250-ENHANCEDSTATUSCODES
        S: 250 XFORWARD IDENT
        C: NOOP
        S: 250 2.0.0
        C: QUIT
        S: 221 2.0.0
        S:
        """,
    )


def test_log_lines_about_a_message_have_the_queue_id_that_postfix_told(running: InstalledRelay) -> None:
    dialogue(
        running,
        """
        S: 220
        C: LHLO m
        S: 250-
        S: 250-
        S: 250-
        S: 250-
        S: 250-
        S: 250-
        S: 250 XFORWARD IDENT
        C: XFORWARD IDENT=4bXk2P7RzFz1Dp\\r\\nMAIL FROM:<a@b.test>\\r\\nRCPT TO:<x@_down.test>\\r\\nDATA
        S: 250 2.0.0
        S: 250 2.1.0
        S: 250 2.1.5
        S: 354
        C: From: a@b.test\\r\\n\\r\\nHello\\r\\n.
        S: 250
        C: MAIL FROM:<a@b.test>
        S: 250 2.1.0
        C: RCPT TO:<x@_down.test>
        S: 250 2.1.5
        C: DATA
        S: 354
        C: From: a@b.test\\r\\n\\r\\nHello\\r\\n.
        S: 250
        C: QUIT
        S: 221
        """,
    )
    said = [line for line in running.log.splitlines() if "event=delivery domain=_down.test" in line]
    # Each is of one message: what has none of its own has none.
    assert [line.rpartition(" queue=")[2] for line in said] == ["4bXk2P7RzFz1Dp", "-"]


def test_protocol_violations_are_answered_and_survived(running: InstalledRelay) -> None:
    dialogue(
        running,
        f"""
        S: 220
        C: MAIL FROM:<a@b.test>
        S: 503 5.5.1
        C: EHLO mail.test
        S: 500 5.5.2
        C: LHLO mail.test
        S: 250-
        S: 250-
        S: 250-
        S: 250-
        S: 250-
        S: 250-
        S: 250 X
        C: XFORWARD ADDR=192.0.2.1
        S: 555 5.5.4
        C: XFORWARD IDENT=a b
        S: 555 5.5.4
        C: DATA
        S: 503 5.5.1
        C: RCPT TO:<a@b.test>
        S: 503 5.5.1
        C: MAIL FROM:a@b.test
        S: 501 5.5.4
        C: MAIL FROM:<a@b.test> SIZE=76546049
        S: 552 5.3.4
        C: MAIL FROM:<a@b.test> AUTH=<>
        S: 555 5.5.4
        C: MAIL FROM:<a@b.test> SIZE=100 BODY=8BITMIME SMTPUTF8
        S: 250 2.1.0
        C: MAIL FROM:<a@b.test>
        S: 503 5.5.1
        C: RCPT TO:<no-domain>
        S: 501 5.1.3
        C: RCPT TO:<a@b.test> NOTIFY=NEVER
        S: 555 5.5.4
        C: DATA
        S: 503 5.5.1
        C: \\x00\\xff
        S: 500 5.5.2
        C: {"x" * 5000}
        S: 500 5.5.2
        C: RSET
        S: 250 2.0.0
        C: RCPT TO:<a@b.test>
        S: 503 5.5.1
        """,
    )
    assert "level=ERROR" not in running.log


def test_pipelined_commands_are_answered_in_order(running: InstalledRelay) -> None:
    dialogue(
        running,
        """
        S: 220
        C: LHLO m\\r\\nMAIL FROM:<>\\r\\nRCPT TO:<a@_down.test>\\r\\nRCPT TO:<b@_down.test>\\r\\nDATA
        S: 250-
        S: 250-
        S: 250-
        S: 250-
        S: 250-
        S: 250-
        S: 250 X
        S: 250 2.1.0
        S: 250 2.1.5
        S: 250 2.1.5
        S: 354
        C: Subject: x\\r\\n\\r\\n..\\r\\n.\\r\\nQUIT
        S: 250 2.0.0 Ok: queued as SINK
        S: 250 2.0.0 Ok: queued as SINK
        S: 221
        """,
    )
    assert running.sink.taken == [("", ["a@_down.test", "b@_down.test"], b"Subject: x\r\n\r\n.\r\n")]


def test_message_larger_than_announced_is_refused_for_every_recipient(relay: InstalledRelay) -> None:
    relay.configure(mail='max_message_size = "10kB"')
    relay.start()
    with lmtp(relay) as client:
        found = client.deliver("a@_down.test", "b@_down.test", content=b"x" * 78 + b"\r\n" + MESSAGE * 40_000)
        assert [code for code, _ in found] == [552, 552]
        assert client.deliver("a@_down.test")[0][0] == 250, "and the connection goes on"


def test_recipients_past_the_limit_wait_for_another_transaction(relay: InstalledRelay) -> None:
    relay.configure(mail="max_recipients = 2")
    relay.start()
    with lmtp(relay) as client:
        found = client.deliver("a@_down.test", "b@_down.test", "c@_down.test")
    assert [code for code, _ in found] == [250, 250, 452]


def test_postfix_away_keeps_the_mail_in_its_queue(relay: InstalledRelay) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and doesn't listen
        relay.reinject_port = nobody.getsockname()[1]
        relay.configure()
        relay.start()
        with lmtp(relay) as client:
            assert client.deliver("a@_down.test") == [
                (451, "4.3.2 Local mail system is not taking mail, try again later")
            ]


def test_kill_in_the_middle_of_a_delivery_says_no_250(running: InstalledRelay, held: Held) -> None:
    with lmtp(running) as client:
        failed: list[Exception] = []

        def deliver() -> None:
            try:
                client.deliver("a@_peer.test")
            except (smtplib.SMTPException, OSError) as error:
                failed.append(error)

        thread = threading.Thread(target=deliver)
        thread.start()
        assert held.arrived.wait(120)
        running.stop(signal.SIGKILL)
        thread.join(120)
    held.go.set()
    assert failed, "Postfix sees the connection break and keeps the mail"
    running.start()
    with lmtp(running) as client:
        assert client.deliver("a@_peer.test")[0][0] == 250


def test_stopping_finishes_what_is_under_way(running: InstalledRelay, held: Held) -> None:
    found: list[tuple[int, str]] = []
    with lmtp(running) as client, lmtp(running) as idle:
        idle.ehlo_or_helo_if_needed()
        thread = threading.Thread(target=lambda: found.extend(client.deliver("a@_peer.test")))
        thread.start()
        assert held.arrived.wait(120)
        assert running.process is not None
        running.process.send_signal(signal.SIGTERM)
        assert idle.sock is not None
        assert idle.sock.recv(1) == b"", "a connection without a transaction is closed"
        held.go.set()
        thread.join(120)
    assert found == [(250, "2.0.0 OK")]
    assert running.stop() == 0
    assert "Traceback" not in running.log


def test_busy_relay_says_so_before_the_message(relay: InstalledRelay, held: Held) -> None:
    relay.configure(workers="1")
    relay.start()
    with lmtp(relay) as first, lmtp(relay) as second:
        thread = threading.Thread(target=first.deliver, args=("a@_peer.test",))
        thread.start()
        assert held.arrived.wait(120)
        assert second.deliver("b@_peer.test")[0][0] == 421
        held.go.set()
        thread.join(120)
    with lmtp(relay) as third:
        assert third.deliver("b@_peer.test")[0][0] == 250


def test_busy_domain_is_refused_before_the_message_and_no_other(relay: InstalledRelay, held: Held) -> None:
    relay.configure(workers_per_domain="2", attempt_timeout='"20s"')
    relay.dns.zone["_other.test", "A"] = ["127.0.0.3"]
    relay.start()
    with ExitStack() as open_connections:
        clients = [open_connections.enter_context(lmtp(relay)) for _ in range(3)]
        threads = [threading.Thread(target=one.deliver, args=("a@_peer.test",)) for one in clients[:2]]
        for thread in threads:
            thread.start()
        until("both are at the peer", lambda: len(relay.peers[0].seen) == 2, 10, every=0.01)
        # Both kinds of recipient in one letter: the one is told at once, the other's mail goes out.
        assert clients[2].deliver("b@_peer.test", "c@_other.test") == [
            (421, "4.4.5 Too many deliveries to this domain under way, try again later"),
            (250, "2.0.0 Ok: queued as SINK"),
        ]
        assert clients[2].sock is not None
        assert clients[2].sock.recv(1) == b"", "after that the connection is closed, as a 421 says"
        held.go.set()
        for thread in threads:
            thread.join(120)
    with lmtp(relay) as client:
        assert client.deliver("b@_peer.test")[0][0] == 250
    assert "event=refused domain=_peer.test reason=busy-domain queue=-" in relay.log


def test_busy_domain_whose_deliveries_end_is_waited_for(relay: InstalledRelay, held: Held) -> None:
    relay.configure(workers_per_domain="1", attempt_timeout='"20s"')
    relay.start()
    with lmtp(relay) as first, lmtp(relay) as second:
        found: list[tuple[int, str]] = []
        begun = threading.Thread(target=first.deliver, args=("a@_peer.test",))
        begun.start()
        assert held.arrived.wait(120)
        waiting = threading.Thread(target=lambda: found.extend(second.deliver("b@_peer.test")))
        waiting.start()
        held.go.set()
        for thread in (begun, waiting):
            thread.join(120)
        assert found == [(250, "2.0.0 OK")]


def test_letter_to_more_domains_than_it_may_have_goes_in_two(running: InstalledRelay) -> None:
    names = [f"_d{number}.test" for number in range(33)]
    for name in names:
        running.dns.zone[name, "A"] = ["127.0.0.3"]
    with lmtp(running) as client:
        found = client.deliver(*(f"a@{name}" for name in names))
    assert [code for code, _ in found] == [250] * 32 + [452]


def test_client_that_leaves_in_the_middle_gives_its_place_back(relay: InstalledRelay, held: Held) -> None:
    held.go.set()
    relay.configure(workers_per_domain="1")
    relay.start()
    for _ in range(3):
        with lmtp(relay) as client:
            client.ehlo_or_helo_if_needed()
            client.docmd("MAIL FROM:<>")
            assert client.docmd("RCPT TO:<a@_peer.test>")[0] == 250
    with lmtp(relay) as client:
        client.ehlo_or_helo_if_needed()
        client.docmd("MAIL FROM:<>")
        client.docmd("RCPT TO:<a@_peer.test>")
        client.docmd("RSET")
        assert client.deliver("a@_peer.test")[0][0] == 250


def test_connections_that_come_while_it_is_away_are_served_when_it_is_back(running: InstalledRelay) -> None:
    running.stop()
    with socket.socket(socket.AF_UNIX) as early:
        early.connect(running.lmtp_path)
        running.start()
        early.settimeout(120)
        assert early.recv(100).startswith(b"220 ")


def test_without_sockets_it_says_how_to_start_it(relay: InstalledRelay) -> None:
    done = subprocess.run(
        [BIN / "mxdeliv-relay"], env=relay.environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 78
    how = "start it by its systemd socket units, or tell it to --listen (--help)"
    assert done.stderr == f"mxdeliv-relay: no sockets passed: {how}\n"


def test_bad_configuration_is_one_line_that_names_the_key(relay: InstalledRelay) -> None:
    relay.configure(conect_timeout='"5s"')
    done = subprocess.run(
        [BIN / "mxdeliv-relay"], env=relay.environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 78
    assert done.stderr.count("\n") == 1
    assert "relay.conect_timeout: no such key; the nearest is relay.connect_timeout" in done.stderr
