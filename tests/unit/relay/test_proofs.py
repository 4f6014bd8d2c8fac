"""Many threads that need the same proof share one probe, and all get its result."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from pathlib import Path
from typing import Any, cast

import pytest

from chatmail_milter.store.endpoint_hosts import EndpointHosts
from chatmail_milter.store.endpoints import Endpoints
from chatmail_milter.store.engine import open_store
from chatmail_milter.store.routes import Routes
from mxdeliv_app.https.allowed_addresses import ForbiddenAddressError
from mxdeliv_app.https.connection import Target
from mxdeliv_app.https.exchange import Answer
from mxdeliv_app.https.post import HttpsPool, NoHttpsError
from mxdeliv_app.relay.domain_cache import DomainCache
from mxdeliv_app.relay.proofs import Proofs, UnprovenError
from tests import stores

THREADS = 8
TARGET = Target("mx.b.test")


class AskedPeer:
    """In the place of `HttpsPool`: keeps who asks until all others wait, then answers as it is told."""

    def __init__(self, answer: Callable[[], Answer]) -> None:
        self.asked = 0
        self.began, self.go = threading.Event(), threading.Event()
        self._answer = answer

    def post(
        self, _target: Target, sender: str, recipients: tuple[str, ...], message: bytes, *_: Any
    ) -> Answer:
        assert (sender, recipients, message) == ("", (), b"")
        self.asked += 1
        self.began.set()
        assert self.go.wait(120)
        return self._answer()


def says(status: int, body: bytes = b"") -> Callable[[], Answer]:
    return lambda: Answer(status, "text/plain", body, 0.0)


def fails(error: Exception) -> Callable[[], Answer]:
    def answer() -> Answer:
        raise error

    return answer


@pytest.fixture
def known(tmp_path: Path) -> Iterator[DomainCache]:
    engine = open_store(stores.made(tmp_path / "store.sqlite"))
    yield DomainCache(Routes(engine), Endpoints(engine), EndpointHosts(engine))
    engine.dispose()


def together(known: DomainCache, peer: AskedPeer) -> list[str]:
    """What each of many hears that ask at the same time."""
    proofs = Proofs(cast(HttpsPool, peer), known)
    waiting = threading.Semaphore(0)

    def one(_number: int) -> str:
        waiting.release()
        try:
            proofs.require("b.test", TARGET, time.monotonic() + 120)
        except (UnprovenError, NoHttpsError, ForbiddenAddressError) as error:
            return f"{type(error).__name__} {error}".strip()
        return "proven"

    with ThreadPoolExecutor(THREADS) as pool:
        heard = [pool.submit(one, number) for number in range(THREADS)]
        for _ in range(THREADS):
            assert waiting.acquire(timeout=120)
        peer.go.set()
        return [one.result(120) for one in heard]


@pytest.mark.parametrize(
    ("answer", "heard"),
    [
        (says(400), "proven"),
        (says(200, b"OK"), "UnprovenError http-200"),
        (says(404), "UnprovenError http-404"),
        (fails(NoHttpsError("connect-timeout")), "NoHttpsError connect-timeout"),
        (fails(ForbiddenAddressError()), "ForbiddenAddressError"),
    ],
)
def test_all_hear_the_same(known: DomainCache, answer: Callable[[], Answer], heard: str) -> None:
    assert together(known, AskedPeer(answer)) == [heard] * THREADS


def test_a_proof_is_asked_for_once(known: DomainCache) -> None:
    peer = AskedPeer(says(400))
    together(known, peer)
    assert together(known, peer) == ["proven"] * THREADS
    assert peer.asked == 1


def test_who_waits_for_another_waits_no_longer_than_it_may(known: DomainCache) -> None:
    peer = AskedPeer(says(400))
    proofs = Proofs(cast(HttpsPool, peer), known)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(proofs.require, "b.test", TARGET, time.monotonic() + 120)
        assert peer.began.wait(120)
        with pytest.raises(NoHttpsError, match=r"^timeout$"):
            proofs.require("b.test", TARGET, time.monotonic())
        peer.go.set()
        first.result(120)


def test_each_domain_and_target_asks_for_its_own(known: DomainCache) -> None:
    peer = AskedPeer(says(400))
    peer.go.set()
    proofs = Proofs(cast(HttpsPool, peer), known)
    for domain, target in (("b.test", TARGET), ("c.test", TARGET), ("b.test", Target("b.test"))):
        proofs.require(domain, target, time.monotonic() + 120)
    assert peer.asked == 3


def test_a_target_has_a_key_of_its_own_port_path_and_pinned_address() -> None:
    targets = [
        Target("b.test"),
        Target("b.test", port=8443),
        Target("b.test", path="/in"),
        Target("b.test", pinned=ip_address("192.0.2.1")),
        Target("c.test"),
    ]
    assert [one.key for one in targets] == [
        "b.test",
        "b.test:8443",
        "b.test/in",
        "b.test@192.0.2.1",
        "c.test",
    ]
