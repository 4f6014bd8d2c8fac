"""Messages of one user to one domain leave the relay in the order in which Postfix hands them over.

A message waits for the one before it for a moment only, which is over on a busy machine. Here it is long.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator

import pytest

from tests.blackbox.relay.installed_relay import (
    InstalledRelay,
    ScriptedPeer,
    SeenPost,
    accept_all,
    deliver,
    running,
)

_PATIENT = """
import functools, sys
from mxdeliv_app.relay import daemon, dispatch
dispatch.SenderOrdering = functools.partial(dispatch.SenderOrdering, moment=600.0)
sys.exit(daemon.main())
"""


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InstalledRelay]:
    relay = InstalledRelay(tmp_path_factory.mktemp("relay"))
    relay.program = [sys.executable, "-c", _PATIENT]
    with running(relay):
        yield relay


def test_a_message_waits_for_the_one_before(relay: InstalledRelay, peer: ScriptedPeer, domain: str) -> None:
    under_way, never = threading.Semaphore(1), threading.Event()
    alone: list[bool] = []

    def script(seen: SeenPost) -> tuple[int, dict[str, str], bytes]:
        alone.append(under_way.acquire(blocking=False))
        never.wait(0.05)  # the others would come meanwhile
        under_way.release()
        return accept_all(seen)

    peer.script = script
    threads = [threading.Thread(target=deliver, args=(relay, f"ann@{domain}")) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert alone == [True] * 4


def test_messages_of_others_do_not_wait_for_it(
    relay: InstalledRelay, peer: ScriptedPeer, domain: str
) -> None:
    all_there = threading.Barrier(4, timeout=120)

    def script(seen: SeenPost) -> tuple[int, dict[str, str], bytes]:
        all_there.wait()
        return accept_all(seen)

    peer.script = script
    found: list[tuple[int, str]] = []
    threads = [
        threading.Thread(
            target=lambda sender: found.extend(deliver(relay, f"ann@{domain}", sender=sender)),
            args=(f"u{number}@_here.test",),
        )
        for number in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert found == [(250, "2.0.0 OK")] * 4
