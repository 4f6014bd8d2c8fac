"""Port 443 is enough: IMAP, submission and HTTPS there, by ALPN (RFC 7301), with the client's address."""

from __future__ import annotations

import asyncio
import imaplib
import smtplib
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from functools import partial

import pytest

from tests.attacks import strangers
from tests.chat import firewall, imap, journal, pgp, signature
from tests.chat.core import Core
from tests.chat.deadline import at_once, deadline, until
from tests.chat.imap import new_account
from tests.chat.login import by_imap_on_443, by_submission_on_443
from tests.chat.person import Person
from tests.chat.smtp import any_certificate
from tests.chat.stage import Stage
from tests.e2e.conftest import Login
from tests.lab import Lab
from tests.lab.host import LabHost
from tests.lab.visitor import seen_as

VISITOR = "10.77.0.96"
PEER = "sender@peer.lab"
# With an IPv4 and an IPv6 address of the client.
SOURCES = [VISITOR, "2001:db8:78::443"]
SECONDS = 30.0
# Connections of one IPv4 address, and of one IPv6 /64, for all but IMAP; of those of one address for SMTP.
OF_ONE, SMTP_OF_ONE = 200, 150
MORE = 12  # tried above a limit

Client = Callable[[LabHost], bytes]


@pytest.fixture(scope="module")
def stage_443(lab: Lab) -> Iterator[Stage]:
    """A core of its own, behind a firewall that passes port 443 only."""
    client = lab.host("client")
    with firewall.behind(client, 443), Core(client.netns) as core:
        yield Stage(lab, core)


@pytest.fixture
def account(b: LabHost) -> Login:
    """A new account on _b.lab."""
    return new_account(b)


def get(host: LabHost, alpn: list[str]) -> bytes:
    """The beginning of the answer to a request for the landing page."""
    with (
        socket.create_connection((host.ip, 443), 20) as plain,
        any_certificate(*alpn).wrap_socket(plain) as session,
    ):
        session.sendall(f"GET / HTTP/1.1\r\nHost: {host.domain}\r\n\r\n".encode())
        return session.recv(4096)


def is_seen_as(address: str, user: str, host: LabHost) -> bool:
    """Whether Dovecot tells that this user is connected from there."""
    return f"({address})" in host.run(["doveadm", "who", user]).stdout


def newcomer(stage: Stage, host: LabHost) -> Person:
    """Someone who scanned the landing page's code: `/new` makes the account, autoconfig has the servers."""
    person = Person(stage.core, "", "")
    with deadline("a new account", 60):
        stage.core.rpc.add_transport_from_qr(person.account, f"dcaccount:https://{host.domain}/new")
        stage.core.rpc.start_io(person.account)
        stage.core.rpc.wait_for_all_work_done(person.account)
    (transport,) = stage.core.rpc.list_transports(person.account)
    person.address, person.password = transport["addr"], transport["password"]
    return person


def test_delta_chat_needs_no_other_port(stage_443: Stage, a: LabHost, b: LabHost, lab: Lab) -> None:
    client = lab.host("client")
    for port in (993, 465, 143, 587):
        connect = ["python3", "-c", f"import socket; socket.create_connection(('{b.ip}', {port}), 5)"]
        assert "ConnectionRefused" in client.run(connect, check=False).stderr
    one, other = newcomer(stage_443, a), newcomer(stage_443, b)
    stage_443.acquaint(one, other)
    # Sent, delivered, and shown by the receiver's core, which idles.
    stage_443.text(one, other)
    stage_443.text(other, one)
    for person, host in ((one, a), (other, b)):
        until("Dovecot has its address", partial(is_seen_as, client.ip, person.address, host), 20)


@pytest.mark.parametrize("source", SOURCES, ids=["IPv4", "IPv6"])
def test_each_server_learns_the_client_s_address(lab: Lab, b: LabHost, account: Login, source: str) -> None:
    began, mid = time.time(), pgp.message_id()

    def connect(alpn: str) -> tuple[socket.socket, ssl.SSLContext]:
        target = b.host.ip6 if ":" in source else b.ip
        return socket.create_connection((target, 443), 20, (source, 0)), any_certificate(alpn)

    with strangers.routes(b), seen_as(VISITOR, b.ip):
        plain, context = connect("imap")
        with context.wrap_socket(plain) as session:
            session.sendall(f"x LOGIN {account[0]} {account[1]}\r\n".encode())
            while not session.recv(4096).startswith(b"x OK"):
                pass
            until("Dovecot has it", partial(is_seen_as, source, account[0], b), SECONDS)
        plain, context = connect("smtp")
        with context.wrap_socket(plain) as session:
            assert session.recv(4096).startswith(b"220 ")
        plain, context = connect("http/1.1")
        message = signature.sign(pgp.encrypted(PEER, account[0], mid), "peer.lab", lab.paths)
        head = f"POST /mxdeliv HTTP/1.1\r\nHost: {b.domain}\r\nContent-Length: {len(message)}\r\n"
        head += f"X-Mail-From: {PEER}\r\nX-Mail-To: {account[0]}\r\n\r\n"
        with context.wrap_socket(plain) as session:
            session.sendall(head.encode() + message)
            assert session.recv(4096).startswith(b"HTTP/1.1 200 ")

    def told() -> bool:
        lines = [f"{one.who} {one.text}" for one in journal.read(b, began - 0.5)]
        submission = any(
            "postfix/submission" in one and f"connect from unknown[{source}]" in one for one in lines
        )
        return submission and any(
            "postfix/mxdeliv" in one and f"client=unknown[{source}]" in one for one in lines
        )

    until("Postfix says from where", told, SECONDS)


def test_the_capabilities_are_told_at_login_there_too(b: LabHost, account: Login) -> None:
    session = imaplib.IMAP4_SSL(b.ip, 443, ssl_context=any_certificate("imap"), timeout=60)
    assert "XCHATMAIL" not in session.capabilities
    assert by_imap_on_443(b.ip, *account) == "OK"
    assert by_submission_on_443(b.ip, *account) == "OK"
    session.shutdown()
    assert "XCHATMAIL" in imap.told_at_login(b.ip, account)


async def kept_by_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One request, after which nginx keeps the connection for longer than the test lasts."""
    writer.write(b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n")
    await strangers.silent(reader, writer)


def kept_by_smtp(greetings: list[bytes]) -> strangers.Talk:
    """NOOP before Postfix ends the session for silence."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        greetings.append((await reader.readline())[:4])
        while not reader.at_eof():
            await asyncio.sleep(3)
            writer.write(b"NOOP\r\n")
            await reader.readline()

    return talk


@pytest.mark.parametrize(
    ("sources", "alpn", "talk"),
    [
        (strangers.ipv4(1), (), kept_by_http),
        (strangers.addresses6(20), ("nonsense", "http/1.1"), kept_by_http),
        (strangers.addresses6(20), ("smtp",), kept_by_smtp([])),
    ],
    ids=["IPv4", "IPv6", "IPv6-smtp"],
)
def test_one_network_has_so_many_connections_for_all_but_imap(
    b: LabHost, sources: list[str], alpn: tuple[str, ...], talk: strangers.Talk
) -> None:
    each = (OF_ONE + MORE) // len(sources) + 1
    with strangers.routes(b), strangers.kept(sources, each, b, 443, talk, tls=True, alpn=alpn) as tally:
        until("as many as may be are there", lambda: tally.open >= OF_ONE, SECONDS)
        assert tally.open == OF_ONE
        assert b"HTTP/1.1 200 " in get(b, ["http/1.1"])


def test_postfix_limits_the_connections_of_an_address(b: LabHost) -> None:
    said: list[bytes] = []
    with (
        strangers.routes(b),
        strangers.kept(
            strangers.ipv4(1), SMTP_OF_ONE + MORE, b, 443, kept_by_smtp(said), tls=True, alpn=["smtp"]
        ) as tally,
    ):
        until("each is told", lambda: len(said) >= SMTP_OF_ONE + MORE, SECONDS)
        assert b"421 " in said
        assert said.count(b"220 ") == SMTP_OF_ONE
        assert tally.open >= SMTP_OF_ONE


@pytest.mark.parametrize(
    "alpn",
    [
        [],
        ["http/1.1"],
        ["nonsense", "http/1.1"],
        ["imaps", "ximap", "smtps", "imap4", "http/1.1"],
        ["x" * 255, "\x01\x02", "http/1.1"],
        ["i", "m", "a", "p", "http/1.1"],
        ["IMAP", "SMTP", "http/1.1"],
        [*(f"{number:0200}" for number in range(60)), "http/1.1"],
    ],
    ids=lambda alpn: ",".join(alpn)[:30].encode("unicode_escape").decode() or "none",
)
def test_who_names_neither_imap_nor_smtp_reaches_the_http_server(b: LabHost, alpn: list[str]) -> None:
    assert get(b, alpn).startswith(b"HTTP/1.1 200 ")


def test_a_list_without_any_protocol_of_ours_gets_the_alert_of_rfc_7301(b: LabHost) -> None:
    with (
        socket.create_connection((b.ip, 443), 20) as plain,
        pytest.raises(ssl.SSLError, match="no application protocol"),
    ):
        any_certificate("nonsense").wrap_socket(plain)


@pytest.mark.parametrize(
    ("alpn", "greeting"),
    [(["imap"], b"* OK "), (["smtp"], b"220 "), (["nonsense", "imap"], b"* OK "), (["smtp", "h2"], b"220 ")],
)
def test_imap_and_smtp_are_found_wherever_they_stand_in_the_list(
    b: LabHost, alpn: list[str], greeting: bytes
) -> None:
    with (
        socket.create_connection((b.ip, 443), 20) as plain,
        any_certificate(*alpn).wrap_socket(plain) as session,
    ):
        assert session.recv(4096).startswith(greeting)


def test_a_client_cannot_name_another_address(b: LabHost) -> None:
    """Its PROXY header is no TLS, so nobody hears the rest. (Behind port 443, nginx writes it.)"""
    for header in (
        b"PROXY TCP4 192.0.2.1 10.77.0.12 1 443\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes(12),
    ):
        with socket.create_connection((b.ip, 443), 20) as plain:
            plain.settimeout(60)
            plain.sendall(header)
            with pytest.raises((ssl.SSLError, OSError)):
                any_certificate("imap").wrap_socket(plain)


# nginx ends a silent connection after 20 s, and Postfix bears a longer pause of an app.
def app_that_pauses(b: LabHost) -> bytes:
    """Delta Chat core goes on with a session for 60 s; where that fails, it waits for 30 s."""
    with (
        socket.create_connection((b.ip, 443), 20) as plain,
        any_certificate("smtp").wrap_socket(plain) as session,
    ):
        session.settimeout(20)
        assert session.recv(4096).startswith(b"220 ")
        with pytest.raises(TimeoutError):
            session.recv(4096)
        session.sendall(b"NOOP\r\n")
        return session.recv(4096)[:4]


def silence_after_the_handshake(b: LabHost) -> bytes:
    """It keeps a place until it ends."""
    with (
        socket.create_connection((b.ip, 443), 20) as plain,
        any_certificate("http/1.1").wrap_socket(plain) as session,
    ):
        session.settimeout(60)
        return b"".join(iter(lambda: session.recv(4096), b""))


def silence_before_tls(b: LabHost) -> bytes:
    return no_tls(b, b"")


def half_a_hello(b: LabHost) -> bytes:
    return no_tls(b, b"\x16\x03\x01\xff\xff" + b"\xff" * 600)


def http_without_tls(b: LabHost) -> bytes:
    return no_tls(b, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")[:13]


def no_tls(b: LabHost, first: bytes) -> bytes:
    """What is answered until the end, which may be a reset (nginx 1.26, of a bad hello) or none (1.22)."""
    with socket.create_connection((b.ip, 443), 20) as plain:
        plain.settimeout(60)
        plain.sendall(first)
        try:
            return plain.recv(4096)
        except ConnectionResetError:
            return b""


# What each gets, in the end.
SLOW: dict[Client, bytes] = {
    app_that_pauses: b"250 ",
    silence_after_the_handshake: b"",
    silence_before_tls: b"",
    half_a_hello: b"",
    # nginx's own page.
    http_without_tls: b"HTTP/1.1 400 ",
}


@pytest.fixture(scope="module")
def answers(b: LabHost) -> Iterator[Mapping[Client, Future[bytes]]]:
    with at_once(lambda client: client(b), SLOW) as waits:
        yield waits


@pytest.mark.parametrize(("client", "answer"), SLOW.items(), ids=[one.__name__ for one in SLOW])
def test_silence_ends_and_a_pause_does_not(
    answers: Mapping[Client, Future[bytes]], client: Client, answer: bytes
) -> None:
    assert answers[client].result() == answer


def test_an_idle_imap_connection_stays(b: LabHost, account: Login) -> None:
    """Through a reload of nginx, too, as after each new certificate."""
    session = imaplib.IMAP4_SSL(b.ip, 443, ssl_context=any_certificate("imap"), timeout=60)
    try:
        session.login(*account)
        b.run("systemctl reload nginx")
        assert session.noop()[0] == "OK"
        with smtplib.SMTP_SSL(b.ip, 443, context=any_certificate("smtp"), timeout=60) as after:
            assert after.noop()[0] == 250
    finally:
        session.shutdown()
