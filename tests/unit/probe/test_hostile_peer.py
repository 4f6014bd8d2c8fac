"""`chatmailctl probe` bounds the time and memory that a hostile peer may take."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

import pytest

from chatmail_milter.time_limit import TimeLimit
from mxdeliv_app.https.connection import Target
from mxdeliv_app.probe import https, smtp
from mxdeliv_app.probe.connect import Network
from mxdeliv_app.probe.steps import FailedError, ProbeAttempt
from tests.lab import ca
from tests.told_timer import ToldTimer

NEVER = 600.0  # seconds, which no test comes near
TARGET = Target("peer.test", verify=False)
MESSAGE = b"Subject: [...]\r\n\r\nHello\r\n"

Talk = Callable[[socket.socket], None]


@pytest.fixture(autouse=True)
def _alarms() -> None:
    ToldTimer.forget()


def never() -> TimeLimit:
    return TimeLimit(NEVER, 2 * NEVER, ToldTimer)


@dataclass
class HostilePeer:
    """A network of one host; `talk` is what that does with a connection. `cut`: it was ended meanwhile."""

    talk: Talk
    limit: TimeLimit
    cut: bool = False
    timeout: float = NEVER
    tls: ssl.SSLContext | None = None
    thread: threading.Thread | None = None

    def connect(
        self, _attempt: ProbeAttempt, _host: str, _port: int, _pinned: object = None
    ) -> socket.socket:
        ours, theirs = socket.socketpair()
        ours.settimeout(self.timeout)
        self.limit.guard(ours)
        self.thread = threading.Thread(target=self._serve, args=(theirs,), daemon=True)
        self.thread.start()
        return ours

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                if self.tls is not None:
                    connection = self.tls.wrap_socket(connection, server_side=True)
                with connection:
                    self.talk(connection)
            except OSError:
                self.cut = True

    def post(self) -> ProbeAttempt:
        """The road by HTTPS."""
        found = https.attempt(TARGET, "a@here.example", "b@there.example", MESSAGE, cast(Network, self))
        assert self.thread is not None
        self.thread.join(NEVER)
        return found

    def attempt(self) -> ProbeAttempt:
        """The road by SMTP."""
        network = cast(Network, self)
        found = smtp.attempt(
            "mx.example", "a@here.example", "b@there.example", MESSAGE, network, "here.example"
        )
        assert self.thread is not None
        self.thread.join(NEVER)
        return found


def dripping(before: bytes, octet: bytes = b"x") -> Talk:
    """A peer that renews every timeout of a socket, until the step's time is over, and after it."""

    def talk(connection: socket.socket) -> None:
        connection.sendall(before + 20 * octet)
        ToldTimer.run_out()
        while True:
            connection.sendall(octet)

    return talk


def silent(connection: socket.socket) -> None:
    while connection.recv(1 << 16):
        pass


def flooding(before: bytes, part: bytes) -> Talk:
    def talk(connection: socket.socket) -> None:
        connection.sendall(before)
        while True:
            connection.sendall(part)

    return talk


def answering(*replies: bytes, then: Talk) -> Talk:
    """A peer that answers commands, one line each, with `replies`; the next one it answers as `then`."""

    def talk(connection: socket.socket) -> None:
        connection.sendall(b"220 mx.example ESMTP\r\n")
        for reply in (*replies, None):
            assert connection.recv(1 << 16).endswith(b"\r\n")
            if reply is not None:
                connection.sendall(reply)
        then(connection)

    return talk


TO_DATA = (b"250-mx.example\r\n250 SIZE\r\n", b"250 OK\r\n", b"250 OK\r\n")


@pytest.mark.parametrize(
    ("talk", "step"),
    [
        (dripping(b""), "greeting"),
        (dripping(b"220-one\r\n" * 100), "greeting"),
        (answering(then=dripping(b"250-")), "EHLO"),
        (answering(TO_DATA[0], then=dripping(b"250-OK\r\n", b"2")), "MAIL"),
        (answering(*TO_DATA[:2], then=dripping(b"")), "RCPT"),
        (answering(*TO_DATA, then=dripping(b"354")), "message"),
    ],
)
def test_a_peer_that_drips_is_left_at_the_end_of_the_steps_time(talk: Talk, step: str) -> None:
    found = HostilePeer(talk, never()).attempt()
    assert (found.steps[-1].name, found.steps[-1].error) == (step, "it took longer than 600 s")


def test_a_peer_that_takes_each_steps_time_is_left_when_the_probe_has_taken_all_of_its() -> None:
    limit = TimeLimit(NEVER, whole=0.2, what="the probe")
    found = HostilePeer(silent, limit).attempt()
    assert found.steps[-1].error == "the probe took longer than 0.2 s"
    assert not limit.left
    with pytest.raises(FailedError), found.step("another", (), limit):
        raise AssertionError("no step begins")
    assert found.steps[-1].error == "the probe took longer than 0.2 s"


@pytest.mark.parametrize("part", [b"250-" + b"x" * 76 + b"\r\n", b"x" * 1024], ids=["lines", "one line"])
@pytest.mark.parametrize(
    ("talk", "step"),
    [
        (lambda part: flooding(b"", part), "greeting"),
        (lambda part: answering(then=flooding(b"250-mx.example\r\n", part)), "EHLO"),
        (lambda part: answering(*TO_DATA[:2], then=flooding(b"250-OK\r\n", part)), "RCPT"),
        (lambda part: answering(*TO_DATA, then=flooding(b"354-go on\r\n", part)), "message"),
    ],
)
def test_a_peer_that_floods_is_left_at_once(talk: Callable[[bytes], Talk], step: str, part: bytes) -> None:
    """Within the time of no step. smtplib keeps all lines of a reply, and bounds only each."""
    peer = HostilePeer(talk(part), never())
    found = peer.attempt()
    assert found.steps[-1].name == step
    assert "more than 16384 octets" in found.steps[-1].error or "Line too long" in found.steps[-1].error
    assert peer.cut


@pytest.mark.parametrize("then", [dripping(b"221"), flooding(b"", b"221-bye\r\n")], ids=["drips", "floods"])
def test_the_answer_to_the_goodbye_is_bounded_too(then: Talk) -> None:
    peer = HostilePeer(answering(TO_DATA[0], b"550 5.7.1 No\r\n", then=then), never())
    found = peer.attempt()
    assert found.error.startswith("550 5.7.1 No")
    assert peer.cut


def test_half_a_reply_is_none() -> None:
    half: Talk = lambda connection: connection.sendall(b"250 2.1.5 O")  # noqa: E731
    found = HostilePeer(answering(*TO_DATA[:2], then=half), never()).attempt()
    assert (found.steps[-1].name, found.code) == ("RCPT", None)
    assert "the connection ended in a reply" in found.error


REFUSAL = b"501 5.5.4 Syntax error in parameters: X-Mail-To\r\n"
PROVEN = b"HTTP/1.1 400 Bad Request\r\nContent-Length: %d\r\n\r\n%s" % (len(REFUSAL), REFUSAL)


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    certificate, key = ca.self_signed(tmp_path_factory.mktemp("peer"), "peer.test")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


def proven(then: Talk, heads: list[bytes] | None = None) -> Talk:
    """A peer that answers the POST without recipients; the next one it answers as `then`."""

    def talk(connection: socket.socket) -> None:
        read_request(connection, heads)
        connection.sendall(PROVEN)
        read_request(connection, heads)
        then(connection)

    return talk


def read_request(connection: socket.socket, heads: list[bytes] | None) -> None:
    head, _, body = connection.recv(1 << 16).partition(b"\r\n\r\n")
    if heads is not None:
        heads.append(head)
    while b"Content-Length: %d" % len(body) not in head:
        body += connection.recv(1 << 16)


def asked(then: Talk) -> Talk:
    """A peer that answers the first POST as `then`."""

    def talk(connection: socket.socket) -> None:
        read_request(connection, None)
        then(connection)

    return talk


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("talk", "step"),
    [
        (asked(dripping(b"HTTP/1.1 400 ")), "proof"),
        (proven(dripping(b"HTTP/1.1 200 OK\r\nX: ")), "answer"),
        (proven(dripping(CHUNKED + b"1\r\nx\r\n0\r\n", b"x")), "answer"),
    ],
)
def test_a_web_server_that_drips_is_left_at_the_end_of_the_steps_time(
    tls: ssl.SSLContext, talk: Talk, step: str
) -> None:
    found = HostilePeer(talk, never(), tls=tls).post()
    assert (found.steps[-1].name, found.steps[-1].error) == (step, "it took longer than 600 s")


@pytest.mark.parametrize(
    ("before", "part"),
    [
        (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\n", b"X: " + b"x" * 60000 + b"\r\n"),
        (CHUNKED, b"1;" + b"x" * 60000 + b"\r\nx\r\n"),
        (CHUNKED + b"0\r\n", b"X: " + b"x" * 60000 + b"\r\n"),
    ],
    ids=["interim answers", "head", "chunks' frames", "trailers"],
)
def test_a_web_server_that_floods_is_left_at_once(tls: ssl.SSLContext, before: bytes, part: bytes) -> None:
    peer = HostilePeer(proven(flooding(before, part)), never(), tls=tls)
    found = peer.post()
    assert found.steps[-1].name == "answer"
    assert found.error
    assert peer.cut


def test_a_web_server_is_asked_by_its_name_over_one_connection(tls: ssl.SSLContext) -> None:
    heads: list[bytes] = []
    reply: Talk = lambda connection: connection.sendall(  # noqa: E731
        b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n250 OK\r\n"
    )
    found = HostilePeer(proven(reply, heads), never(), tls=tls).post()
    assert (found.code, [step.name for step in found.steps]) == (250, ["TLS", "proof", "POST", "answer"])
    assert [b"\r\nHost: peer.test\r\n" in head for head in heads] == [True, True]
    assert b"X-Mail-To: b@there.example" in heads[1]


def test_a_web_server_that_closes_between_the_two_is_said_so(tls: ssl.SSLContext) -> None:
    closing = PROVEN.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
    found = HostilePeer(asked(lambda connection: connection.sendall(closing)), never(), tls=tls).post()
    assert found.steps[-1].name == "answer"
    assert "the peer closed the connection" in found.error


def test_what_is_shown_of_a_peer_is_bounded() -> None:
    attempt = ProbeAttempt("smtp", "mx")
    with attempt.step("EHLO", (OSError,), TimeLimit(NEVER, NEVER)) as step:
        step.found = "X" * 16000
    assert len(attempt.steps[0].found) == 500


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        thread.join(NEVER)
