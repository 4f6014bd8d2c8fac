"""The policy service refuses at DATA a message to one recipient that can't be delivered."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from chatmail_milter.store.accounts import Accounts
from chatmail_milter.store.engine import open_store
from tests.blackbox.relay.installed_relay import InstalledRelay, deliver
from tests.chat.deadline import until


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InstalledRelay]:
    relay = InstalledRelay(tmp_path_factory.mktemp("recipient-policy"))
    relay.dns.zone["null.test", "MX"] = ["0 ."]
    relay.dns.zone["there.test", "A"] = ["127.0.0.2"]
    relay.dns.zone["ours.test", "MX"] = ["10 _here.test."]
    relay.dns.rcodes["gone.test"] = 3
    relay.dns.rcodes["ill.test"] = 2
    relay.start()
    yield relay
    relay.close()


@pytest.fixture
def asked(relay: InstalledRelay) -> Iterator[socket.socket]:
    with connected(relay) as connection:
        yield connection


@contextmanager
def connected(relay: InstalledRelay) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(120)
        connection.connect(relay.policy_path)
        yield connection


def ask(connection: socket.socket, recipient: str) -> str:
    say(connection, recipient)
    return heard(connection)


def say(connection: socket.socket, recipient: str) -> None:
    request = f"request=smtpd_access_policy\nprotocol_state=DATA\nrecipient={recipient}\nsize=100\n\n"
    connection.sendall(request.encode())


def heard(connection: socket.socket) -> str:
    said = b""
    while not said.endswith(b"\n\n"):
        said += connection.recv(4096)
    return said.decode().strip().removeprefix("action=")


@pytest.mark.parametrize(
    ("recipient", "reply"),
    [
        ("ann@gone.test", "512 5.1.2 Recipient domain does not exist"),
        ("ann@null.test", "556 5.1.10 Recipient domain does not accept mail (null MX)"),
        ("ann@there.test", "DUNNO"),
        ("ann@ill.test", "DUNNO"),
        ("ann@[127.0.0.2]", "DUNNO"),
        ("ann@[10.0.0.1]", "550 5.1.2 Recipient domain resolves to an address that is not public"),
        ("ann@10.0.0.1", "550 5.1.2 Recipient domain resolves to an address that is not public"),
        ("ann@ours.test", "550 5.4.6 Mail for the recipient domain would come back to this server"),
        ("", "DUNNO"),
        # What the relay would say of it when it is too late.
        ("not an address", "501 5.1.3 Bad recipient address syntax"),
        ("ann@" + "a." * 125 + "test", "501 5.1.3 Bad recipient address syntax"),
    ],
)
def test_only_what_is_final_is_refused(asked: socket.socket, recipient: str, reply: str) -> None:
    assert ask(asked, recipient) == reply


def test_a_domain_whose_names_nobody_tells_keeps_no_other_waiting(relay: InstalledRelay) -> None:
    relay.dns.raw["silent.test"] = None
    with ExitStack() as connections, connected(relay) as other:
        waiting = [connections.enter_context(connected(relay)) for _ in range(60)]
        for one in waiting:
            say(one, "ann@silent.test")
        until("it is looked up", lambda: "silent.test" in relay.dns.asked, 10, every=0.01)
        # Neither at submission nor on the way out. One lookup takes 5 s; by turns they would take a minute.
        assert ask(other, "ann@null.test").startswith("556")
        assert deliver(relay, "ann@null.test")[0][0] == 556
        assert {heard(one) for one in waiting} == {"DUNNO"}
    assert relay.dns.asked.count("silent.test") < 20, "one looks it up for all"


def test_one_connection_serves_many_questions(asked: socket.socket) -> None:
    answers = [ask(asked, f"ann@{domain}") for domain in ("there.test", "gone.test", "there.test")]
    assert [answer[:3] for answer in answers] == ["DUN", "512", "DUN"]


def test_domain_with_a_route_needs_no_dns(relay: InstalledRelay, asked: socket.socket) -> None:
    relay.ctl("route", "set", "gone.test", "127.0.0.2")
    try:
        assert ask(asked, "ann@gone.test") == "DUNNO"
    finally:
        relay.ctl("route", "remove", "gone.test")


def test_domain_that_the_operator_blocks_is_refused(relay: InstalledRelay, asked: socket.socket) -> None:
    relay.ctl("block", "add", "there.test")
    try:
        assert ask(asked, "ann@there.test") == "554 5.7.1 Recipient domain is blocked here"
    finally:
        relay.ctl("block", "remove", "there.test")
    assert ask(asked, "ann@there.test") == "DUNNO"


@contextmanager
def dovecot(relay: InstalledRelay, answer: str) -> Iterator[list[str]]:
    """Dovecot's quota-status, giving one answer; what it was asked."""
    path, asked = relay.directory / "mailboxes.sock", []

    def serve(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection:
            asked.append(connection.recv(4096).decode())
            connection.sendall(f"action={answer}\n\n".encode())

    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        thread = threading.Thread(target=serve, args=(listening,), daemon=True)
        thread.start()
        yield asked
        thread.join(120)
    path.unlink()


@pytest.mark.parametrize(
    ("answer", "reply"),
    [
        ("550 5.1.1 User unknown", "550 5.1.1 User unknown"),
        ("552 5.2.2 Full", "552 5.2.2 Full"),
        ("DUNNO", "DUNNO"),
        ("451 4.3.0 Later", "DUNNO"),
    ],
)
def test_of_our_own_mailboxes_dovecot_knows(
    relay: InstalledRelay, asked: socket.socket, answer: str, reply: str
) -> None:
    with dovecot(relay, answer) as questions:
        assert ask(asked, "ann@_here.test") == reply
    (question,) = questions
    assert {"protocol_state=RCPT", "recipient=ann@_here.test", "size=100"} <= set(question.splitlines())


def test_dovecot_is_not_asked_again_about_a_mailbox_that_had_room(
    relay: InstalledRelay, asked: socket.socket
) -> None:
    failures = relay.log.count("event=mailbox-unknown")
    engine = open_store(f"sqlite:///{relay.directory}/store.sqlite")
    assert Accounts(engine).create("roomy123@_here.test", "{PLAIN}x")
    engine.dispose()
    with dovecot(relay, "DUNNO") as questions:
        assert ask(asked, "roomy123@_here.test") == "DUNNO"
    (question,) = questions
    assert "size=76546048" in question.splitlines()
    # Nobody listens there any more, and nobody misses it.
    assert ask(asked, "roomy123@_here.test") == "DUNNO"
    assert relay.log.count("event=mailbox-unknown") == failures


def test_dovecot_away_hinders_nobody(asked: socket.socket) -> None:
    assert ask(asked, "ann@_here.test") == "DUNNO"
