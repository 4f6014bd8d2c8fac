"""No host can hold up `doctor` or `dns`: each look ends after its time, whatever comes."""

from __future__ import annotations

import ast
import queue
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import dns.message
import dns.resolver
import pytest
from dns.exception import DNSException
from dns.rdataclass import IN
from dns.rdatatype import MX, A
from dns.rrset import from_text

from chatmail_milter.ctl import doctor as command
from chatmail_milter.doctor import (
    Finding,
    certificates,
    good,
    network,
    optional_records,
    outbound,
    outside,
    records,
)
from chatmail_milter.doctor.outside import Service
from chatmail_milter.time_limit import TimeLimit
from tests.lab import ca
from tests.told_timer import ToldTimer

ROOT = Path(__file__).parents[3]
LIMIT = 60.0  # seconds, which no test comes near
# A TLS record of a handshake that is to be long, and is not over.
RECORD = b"\x16\x03\x03\x3f\xff"
WANTED = from_text("a.test.", 60, IN, A, "192.0.2.1")
TALK = Callable[[socket.socket], None]


class DrippingHost:
    """Listens on loopback; `talk` is what it does with a connection. `sent`: octets that dripped."""

    def __init__(self) -> None:
        self.talk: TALK = lambda _: None
        self.sent = 0
        self.cut = threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection = self.listener.accept()[0]
            except OSError:
                return
            with connection:
                try:
                    self.talk(connection)
                except OSError:
                    self.cut.set()

    def drips(self, before: bytes = b"", octet: bytes = b"x", *answers: bytes) -> TALK:
        """Answers `answers`, a line for each, then one octet after the other: also when the time is over."""

        def talk(connection: socket.socket) -> None:
            for answer in answers:
                connection.sendall(answer)
                connection.recv(1 << 16)
            connection.sendall(before)
            while True:
                connection.sendall(octet)
                self.sent += len(octet)
                if self.sent == 20 * len(octet):
                    ToldTimer.run_out()

        return talk


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[DrippingHost]:
    """The only host that there is, at every name and port."""
    ToldTimer.forget()
    monkeypatch.setattr(network, "_timer", ToldTimer)
    monkeypatch.setattr(network, "addresses", lambda _: ["192.0.2.1"])
    found = DrippingHost()
    address = ("127.0.0.1", found.port)
    monkeypatch.setattr(network, "_first", lambda *_: socket.create_connection(address, LIMIT))
    with closing(found.listener):
        yield found


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    certificate, key = ca.self_signed(tmp_path_factory.mktemp("host"), "a.test")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


def secured(tls: ssl.SSLContext, talk: TALK) -> TALK:
    """Does TLS, reads a request, and talks."""

    def secure(connection: socket.socket) -> None:
        with tls.wrap_socket(connection, server_side=True) as inside:
            inside.recv(1 << 16)
            talk(inside)

    return secure


@pytest.mark.parametrize(
    ("look", "before"),
    [
        (lambda: outside.greet(Service(25, b"220"), "192.0.2.1", "a.test"), b""),
        (lambda: outside.greet(Service(993, b"* OK", tls=True), "192.0.2.1", "a.test"), RECORD),
        (lambda: outside.post("a.test"), RECORD),
        (lambda: optional_records.policy("a.test"), RECORD),
        (lambda: optional_records.certificate("a.test"), b""),
        (lambda: certificates.look("a.test", 443, "a.test"), RECORD),
        (lambda: certificates.look("a.test", 587, "a.test"), b"220-"),
    ],
    ids=["greeting", "greeting by TLS", "post", "policy", "port 25", "certificate", "port 587"],
)
def test_a_host_that_drips_is_left_when_the_time_is_over(
    host: DrippingHost, look: Callable[[], object], before: bytes
) -> None:
    host.talk = host.drips(before)
    with pytest.raises(TimeoutError, match="it took longer than 10 s"):
        look()
    assert host.sent >= 20
    assert host.cut.wait(LIMIT)


@pytest.mark.parametrize(
    ("before", "octet", "answers"),
    [
        (b"", b"x", (b"220 a.test\r\n",)),
        (b"250-a.test\r\n", b"250-X\r\n", (b"220 a.test\r\n",)),
        (b"220 go on\r\n" + RECORD, b"x", (b"220 a.test\r\n", b"250 a.test\r\n")),
    ],
    ids=["reply to EHLO", "lines of it", "handshake"],
)
def test_one_that_drips_later_in_smtp_too(
    host: DrippingHost, before: bytes, octet: bytes, answers: tuple[bytes, ...]
) -> None:
    host.talk = host.drips(before, octet, *answers)
    with pytest.raises(TimeoutError, match="it took longer than 10 s"):
        certificates.shown("a.test", 25)
    assert host.cut.wait(LIMIT)


@pytest.mark.parametrize(
    ("before", "octet"),
    [
        (b"HTTP/1.1 200 ", b"x"),
        (b"HTTP/1.1 200 OK\r\nX: ", b"x"),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"x"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n", b"x"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
    ids=["status", "head", "body", "trailers", "interim answers"],
)
def test_a_web_server_that_drips_is_left_too(
    host: DrippingHost, tls: ssl.SSLContext, before: bytes, octet: bytes
) -> None:
    host.talk = secured(tls, host.drips(before, octet))
    with pytest.raises(TimeoutError, match="it took longer than 10 s"):
        network.fetch("a.test", "/", 1 << 16, context=certificates.trusting())
    assert host.sent >= 20 * len(octet)
    assert host.cut.wait(LIMIT)


def test_a_reply_of_endless_lines_is_no_reply(host: DrippingHost) -> None:
    def talk(connection: socket.socket) -> None:
        connection.sendall(b"220-a.test\r\n" * 1000)

    host.talk = talk
    with pytest.raises(OSError, match=r"answers '220-a\.test'"):
        certificates.shown("a.test", 25)


def test_a_server_that_does_not_start_tls_is_quoted(host: DrippingHost) -> None:
    host.talk = lambda connection: connection.sendall(b"554 5.7.1 no service\r\n")
    with pytest.raises(OSError, match=r"answers '554 5\.7\.1 no service'"):
        certificates.shown("a.test", 587)


@pytest.mark.parametrize(("name", "field"), [("a.test", "a.test"), ("2001:db8::1", "[2001:db8::1]")])
def test_a_web_server_is_asked_by_its_name(
    host: DrippingHost, tls: ssl.SSLContext, name: str, field: str
) -> None:
    heads = queue.SimpleQueue[bytes]()

    def talk(connection: socket.socket) -> None:
        with tls.wrap_socket(connection, server_side=True) as inside:
            heads.put(inside.recv(1 << 16))
            inside.sendall(b"HTTP/1.1 400 Bad\r\nContent-Length: 5\r\n\r\nhello")

    host.talk = talk
    found = network.fetch(name, "/mxdeliv", 4, post=b"", context=certificates.trusting())
    assert found == (400, b"hell")
    head = heads.get(timeout=LIMIT)
    assert head.startswith(b"POST /mxdeliv HTTP/1.1\r\n")
    assert f"\r\nHost: {field}\r\n".encode() in head


def test_what_is_not_http_is_an_error_of_the_network(host: DrippingHost, tls: ssl.SSLContext) -> None:
    host.talk = secured(tls, lambda connection: connection.sendall(b"220 a.test ESMTP\r\n"))
    with pytest.raises(OSError, match="no answer of HTTP: BadStatusLine"):
        network.fetch("a.test", "/", 100, context=certificates.trusting())


def test_the_next_address_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "addresses", lambda _: ["127.0.0.2", "127.0.0.1"])
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
        with network.connected("a.test", port) as connection:
            assert connection.getpeername() == ("127.0.0.1", port)
    with pytest.raises(ConnectionRefusedError):
        outbound.connect("a.test", port)


def test_a_host_of_many_addresses_that_do_not_answer_takes_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = list[str]()

    def hang(address: tuple[str, int], timeout: float) -> socket.socket:
        assert 0 < timeout <= 5
        tried.append(address[0])
        limit._end -= timeout
        raise TimeoutError("timed out")

    limit = TimeLimit(10, 10, ToldTimer)
    monkeypatch.setattr(socket, "create_connection", hang)
    with pytest.raises(TimeoutError):
        network._first([f"192.0.2.{number}" for number in range(200)], 25, limit)
    assert len(tried) == 2


def test_a_resolver_of_libc_that_does_not_end_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    def hang(*_: object, **__: object) -> list[object]:
        over.wait(LIMIT)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    monkeypatch.setattr(network, "WHOLE", 0.01)
    try:
        with pytest.raises(TimeoutError, match=r"not found in 0\.01 s"):
            outside.addresses("a.test")
    finally:
        over.set()


@pytest.mark.parametrize("name", ["no-such-name.invalid", "x" * 64])
def test_a_name_without_an_address_is_told_from_a_host_that_does_not_answer(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def ask(host: str, *_: object, **__: object) -> list[object]:
        host.encode("idna")
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", ask)
    with pytest.raises(network.NoAddressError):
        network.addresses(name)


@pytest.fixture
def nameserver(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Says by UDP that TCP must be used, where it drips. The list has a number for each octet."""
    sent = list[int]()

    def by_udp() -> None:
        while True:
            octets, client = udp.recvfrom(1 << 16)
            if not octets:
                return
            answer = dns.message.make_response(dns.message.from_wire(octets))
            answer.flags |= dns.flags.TC
            udp.sendto(answer.to_wire(), client)

    def by_tcp() -> None:
        while True:
            try:
                connection = tcp.accept()[0]
            except OSError:
                return
            with connection:
                connection.sendall(b"\xff\xff")
                try:
                    while True:
                        connection.sendall(b"x")
                        sent.append(1)
                except OSError:
                    pass

    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers = ["127.0.0.1"]
    monkeypatch.setattr(network, "Resolver", lambda: resolver)
    with ExitStack() as stack:
        tcp = stack.enter_context(closing(socket.create_server(("127.0.0.1", 0))))
        resolver.port = tcp.getsockname()[1]
        udp = stack.enter_context(closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)))
        udp.bind(("127.0.0.1", resolver.port))
        threads = [threading.Thread(target=one, daemon=True) for one in (by_udp, by_tcp)]
        for one in threads:
            one.start()
        yield sent
        udp.sendto(b"", udp.getsockname())
        tcp.shutdown(socket.SHUT_RDWR)
        for one in threads:
            one.join(LIMIT)


@pytest.mark.parametrize(
    "look",
    [
        lambda: records.look_up(WANTED),
        lambda: records.authoritative(WANTED),
        lambda: records.reverse("192.0.2.1"),
        lambda: outbound.host_of("a.test", 25),
    ],
    ids=["records", "authoritative", "reverse", "exchange"],
)
def test_a_name_server_that_drips_is_left(
    nameserver: list[int], monkeypatch: pytest.MonkeyPatch, look: Callable[[], object]
) -> None:
    monkeypatch.setattr(network, "WHOLE", 0.2)
    assert look() is None
    assert nameserver


def test_queries_that_belong_together_share_their_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    lifetimes = list[float]()

    class Slow:
        def resolve(self, *_: object, lifetime: float, **__: object) -> list[object]:
            lifetimes.append(lifetime)
            if not lifetime:
                raise DNSException
            now[0] += 4
            return []

    monkeypatch.setattr(network, "_clock", lambda: now[0])
    monkeypatch.setattr(network, "Resolver", Slow)
    queries = network.Queries()
    for _ in range(3):
        assert queries.ask("a.test", A) == []
    with pytest.raises(network.DnsFailedError):
        queries.ask("a.test", A)
    assert lifetimes == [10, 6, 2, 0]


def test_a_null_mx_is_no_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """A null MX (RFC 7505) has an empty name, which would mean this host."""
    monkeypatch.setattr(network.Queries, "ask", lambda *_: list(from_text("a.test.", 60, IN, MX, "0 .")))
    assert outbound.host_of("a.test", 25) is None


def test_all_checks_together_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]

    def endless() -> Iterator[Finding]:
        while True:
            now[0] += 10
            yield good("ports", "one of many", "answers")

    monkeypatch.setattr(command, "_clock", lambda: now[0])
    *found, last = command._findings({"ports": endless, "dns": lambda: iter(())})
    assert len(found) == 31
    assert (last.subject, last.found) == ("ports", "not checked after 300 s: try --only ports")


# What connects or asks DNS by itself.
NETWORK = {
    "socket", "smtplib", "http.client", "requests", "urllib.request", "urllib3", "dns.query", "dns.resolver",
}  # fmt: skip


def test_nothing_else_of_the_operators_commands_connects_by_itself() -> None:
    found = dict[str, set[str]]()
    for room in ("ctl", "doctor", "figures", "trace", "backup"):
        for path in (ROOT / "chatmail_milter" / room).glob("*.py"):
            for one in ast.walk(ast.parse(path.read_text())):
                names = [alias.name for alias in one.names] if isinstance(one, ast.Import) else []
                names += [str(one.module)] if isinstance(one, ast.ImportFrom) else []
                if NETWORK & {*names}:
                    found.setdefault(f"{room}/{path.name}", set()).update(NETWORK & {*names})
    # `outside` imports the type of a connection only.
    assert found.pop("doctor/network.py") >= {"socket", "http.client", "dns.resolver"}
    assert found == {"doctor/outside.py": {"socket"}}
