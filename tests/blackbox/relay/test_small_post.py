"""The event loop sends a small POST on an open connection; a thread continues if the answer is not whole."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mxdeliv_app.https.connection import Target
from mxdeliv_app.https.event_loop import WouldWaitError, at_once
from mxdeliv_app.https.exchange import Answer, Exchange
from mxdeliv_app.https.post import HttpsPool, NoHttpsError, Timeouts
from tests.blackbox.certificate import make_certificate
from tests.blackbox.relay.raw_peer import (
    ADDRESS,
    CLOSING,
    HEAD,
    OK,
    Behaviour,
    PeerConnection,
    RawPeer,
    hang,
    raw_peer,
    tls,
)

TARGET = Target("_peer.test", verify=False)
SENDER, TO, MESSAGE = "u@_here.test", ("ann@_peer.test",), b"Subject: [...]\r\n\r\nHello\r\n"
LATER = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"
DEADLINE = 120.0  # seconds, which nothing here comes near


def dial(_target: Target) -> socket.socket:
    return socket.create_connection((ADDRESS, 443), DEADLINE)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exchange") / "peer.pem"
    make_certificate(path, ("_peer.test",))
    return path


def post(https: HttpsPool, begun: Exchange | None = None, message: bytes = MESSAGE) -> Answer:
    return https.post(TARGET, SENDER, TO, message, time.monotonic() + DEADLINE, begun)


def begin(https: HttpsPool, message: bytes = MESSAGE) -> Exchange | None:
    return https.begin(TARGET, SENDER, TO, message, time.monotonic() + DEADLINE)


def begun_and_waited_for(https: HttpsPool) -> Exchange:
    """A POST over the connection that an earlier one left, as far as the event loop sees to it."""

    async def work() -> Exchange:
        begun = begin(https)
        assert begun is not None
        async with asyncio.timeout(DEADLINE):
            await begun.wait()
        return begun

    return asyncio.run(work())


@contextmanager
def connected(certificate: Path, then: Behaviour) -> Iterator[tuple[HttpsPool, RawPeer]]:
    """A client with an open connection, on which the peer behaves as `then` says; later it says OK."""

    def behave(talk: PeerConnection) -> None:
        talk.request()
        talk.say(OK)
        if talk.number == 1:
            then(talk)

    https = HttpsPool(dial, Timeouts(DEADLINE, 1 << 20), "test")
    with raw_peer(ADDRESS, behave, tls(certificate)) as peer:
        assert post(https).status == 200
        yield https, peer
        https.close()


def saying(*parts: bytes, then: Callable[[PeerConnection], None] = lambda _talk: None) -> Behaviour:
    def behave(talk: PeerConnection) -> None:
        talk.request()
        for part in parts:
            talk.say(part)
            talk.gone.wait(0.05)  # so that each comes by itself
        then(talk)

    return behave


def say_goodbye(talk: PeerConnection) -> None:
    """TLS's close_notify (RFC 8446, 6.1), without which the connection ends with an error."""
    assert isinstance(talk.connection, ssl.SSLSocket)
    talk.connection.unwrap()


# How a peer ends a connection: with TLS's goodbye, without, as a crashed host.
END = [
    pytest.param(say_goodbye, id="goodbye"),
    pytest.param(lambda _talk: None, id="closed"),
    pytest.param(PeerConnection.reset, id="reset"),
]


def test_an_answer_that_comes_whole_is_taken_without_a_thread(certificate: Path) -> None:
    def serve(talk: PeerConnection) -> None:
        while True:
            talk.request()
            talk.say(OK)

    with connected(certificate, serve) as (https, peer):
        for _ in range(3):
            begun = begun_and_waited_for(https)
            assert begun.answer is not None
            assert (begun.answer.status, begun.answer.body, begun.answer.cut) == (200, b"250 OK\r\n", None)
            assert post(https, begun) is begun.answer
        assert peer.connections == 1


@pytest.mark.parametrize(
    "parts",
    [
        (OK[:20], OK[20:]),
        (OK[:-3], OK[-3:]),
        tuple(OK[n : n + 1] for n in range(len(OK))),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n4\r\n250 \r\n", b"4\r\nOK\r\n\r\n0\r\n\r\n"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK,),
        (b"HTTP/1.1 102 Processing\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK),
        (b"HTTP/1.1 103 Early Hints\r\nContent-Length: 8\r\n\r\n", OK),
        (HEAD.replace(b"\r", b"") + b"Content-Length: 8\n\n250 OK\r\n",),
        (CLOSING,),
    ],
    ids=[
        "in two",
        "body in two",
        "dribbles",
        "in chunks",
        "100 first",
        "102 and 103 first",
        "103 alone",
        "line feeds",
        "closing",
    ],
)
def test_an_answer_counts_however_it_is_wrapped(certificate: Path, parts: tuple[bytes, ...]) -> None:
    with connected(certificate, saying(*parts)) as (https, peer):
        found = post(https, begun_and_waited_for(https))
        assert (found.status, found.body, found.cut) == (200, b"250 OK\r\n", None)
        assert peer.connections == 1, "it was sent once"


def test_an_answer_that_ends_too_early_is_known_as_such(certificate: Path) -> None:
    part = HEAD + b"Content-Length: 999\r\n\r\n250 2.0.0 OK\r\n"
    with connected(certificate, saying(part)) as (https, _):
        found = post(https, begun_and_waited_for(https))
        assert (found.body, found.cut) == (b"250 2.0.0 OK\r\n", "network")


LARGE = b"Subject: [...]\r\n\r\n" + b"x" * (1 << 15)  # more than one TLS record: a thread does it all
SENT: list[Callable[[HttpsPool], Answer]] = [
    lambda https: post(https, begun_and_waited_for(https)),
    lambda https: post(https, message=LARGE),
]


@pytest.mark.parametrize("sent", SENT, ids=["on the event loop", "in a thread"])
@pytest.mark.parametrize("end", END)
def test_without_an_octet_of_an_answer_it_is_sent_once_more(
    certificate: Path, sent: Callable[[HttpsPool], Answer], end: Callable[[PeerConnection], None]
) -> None:
    with connected(certificate, saying(then=end)) as (https, peer):
        assert sent(https).status == 200
        assert peer.connections == 2


@pytest.mark.parametrize("sent", SENT, ids=["on the event loop", "in a thread"])
@pytest.mark.parametrize("end", END)
@pytest.mark.parametrize(
    "said",
    [
        b"H",
        HEAD + b"Content-",
        HEAD + b"Content-Length: 0\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\n" + HEAD + b"Content-Length: 0\r\n",
    ],
    ids=["one octet", "half a head", "all but the last line", "interim", "half a head after an interim"],
)
def test_with_an_octet_of_an_answer_it_is_not_repeated(
    certificate: Path, sent: Callable[[HttpsPool], Answer], end: Callable[[PeerConnection], None], said: bytes
) -> None:
    """The peer may have delivered it. Nor is half a head taken for a whole one."""
    with connected(certificate, saying(said, then=end)) as (https, peer):
        with pytest.raises(NoHttpsError):
            sent(https)
        assert peer.connections == 1


def test_it_is_not_sent_a_third_time(certificate: Path) -> None:
    sent = []

    def behave(talk: PeerConnection) -> None:
        sent.append(talk.request())
        if talk.number == 1:
            talk.say(OK)
            sent.append(talk.request())

    https = HttpsPool(dial, Timeouts(DEADLINE, 1 << 20), "test")
    with raw_peer(ADDRESS, behave, tls(certificate)):
        post(https)
        with pytest.raises(NoHttpsError, match="network"):
            post(https, begun_and_waited_for(https))
    assert len(sent) == 3, "the first message, and the second twice"


def test_nonsense_is_no_answer_and_not_repeated(certificate: Path) -> None:
    with connected(certificate, saying(b"220 mail.example.org ESMTP\r\n\r\n")) as (https, peer):
        with pytest.raises(NoHttpsError, match="protocol"):
            post(https, begun_and_waited_for(https))
        assert peer.connections == 1


@pytest.mark.parametrize("said", [b"", OK[:20], OK[:-3]])
def test_a_peer_that_hangs_is_cut_in_its_time(certificate: Path, said: bytes) -> None:
    def behave(talk: PeerConnection) -> None:
        talk.request()
        talk.say(said)
        hang(talk)

    async def until_cut(https: HttpsPool) -> Exchange:
        begun = begin(https)
        assert begun is not None
        async with asyncio.timeout(DEADLINE):
            waiting = asyncio.create_task(begun.wait())
            while begun.came != said:
                await asyncio.sleep(0.01)
            begun.client.guarded.deadline = 0.0  # its time is over
            https.sweep()
            await waiting
        return begun

    with connected(certificate, behave) as (https, _):
        begun = asyncio.run(until_cut(https))
        assert begun.answer is None
        if b"\r\n\r\n" in said:  # what of a body came may do
            assert post(https, begun).cut == "timeout"
        else:
            with pytest.raises(NoHttpsError, match="timeout"):
                post(https, begun)


def test_what_is_said_unasked_is_no_answer_to_the_next_message(certificate: Path) -> None:
    with connected(certificate, saying(OK + LATER)) as (https, peer):
        begun = begun_and_waited_for(https)
        assert begun.answer is not None
        assert begun.answer.body == b"250 OK\r\n"
        assert begin(https) is None, "the connection is not kept"
        assert post(https).status == 200
        assert peer.connections == 2


def test_many_share_few_connections(certificate: Path) -> None:
    """Who gets a connection waits for the same socket that another has just waited for."""

    def behave(talk: PeerConnection) -> None:
        while True:
            talk.request()
            talk.say(OK)

    https = HttpsPool(dial, Timeouts(DEADLINE, 1 << 20), "test")

    async def one() -> int:
        taken = 0
        for _ in range(50):
            while (begun := begin(https)) is None:
                await asyncio.sleep(0)
            await begun.wait()
            taken += begun.answer is not None
        return taken

    async def work() -> list[int]:
        async with asyncio.timeout(DEADLINE):
            return await asyncio.gather(*(one() for _ in range(8)))

    with raw_peer(ADDRESS, behave, tls(certificate)) as peer:
        opened = [threading.Thread(target=post, args=(https,)) for _ in range(2)]
        for thread in opened:
            thread.start()
        for thread in opened:
            thread.join()
        assert asyncio.run(work()) == [50] * 8
        assert peer.connections <= 2
        https.close()


def test_only_what_fits_in_one_record_is_begun_at_once(certificate: Path) -> None:
    with connected(certificate, hang) as (https, peer):
        assert begin(https, b"x" * 16_384) is None
        assert peer.connections == 1
        assert begin(HttpsPool(dial, Timeouts(DEADLINE, 1 << 20), "test")) is None, "without a connection"


def test_the_event_loop_is_never_kept_waiting(certificate: Path) -> None:
    with connected(certificate, hang) as (https, _), pytest.raises(WouldWaitError), at_once():
        post(https)
