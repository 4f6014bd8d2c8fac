"""The upgrade, once: the earlier version with all that it holds, and this one over it while mail flows."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from time import monotonic
from typing import Any

import pytest

from tests.chat.core import Core
from tests.chat.deadline import deadline, until
from tests.chat.stage import Stage
from tests.e2e.conftest import LAB, pytest_runtest_makereport
from tests.lab import LabError
from tests.lab.command import Progress
from tests.upgrade import FROM
from tests.upgrade.earlier import Earlier
from tests.upgrade.mailbox import Watcher
from tests.upgrade.scene import Scene, prepare
from tests.upgrade.traffic import Sender, by_starttls, by_tls, flowing
from tests.upgrade.two_people import TwoPeople, begin

__all__ = ["pytest_runtest_makereport"]

# Against what hangs.
SECONDS = 1800.0
TEST_SECONDS = 240.0


@dataclass(frozen=True)
class Upgraded:
    """What there was, and what those saw who used the relays meanwhile. `senders`: they have stopped."""

    scene: Scene
    talk: TwoPeople
    senders: list[Sender]
    watcher: Watcher


@pytest.fixture(autouse=True)
def _bound(request: pytest.FixtureRequest, upgraded: Upgraded) -> Iterator[None]:
    with deadline(request.node.name, TEST_SECONDS):
        yield


@pytest.fixture(scope="session")
def upgraded(pytestconfig: pytest.Config) -> Iterator[Upgraded]:
    """The lab with the earlier version, and this tree's playbook run over it."""
    capture: Any = pytestconfig.pluginmanager.get_plugin("capturemanager")
    began = monotonic()

    def say(text: str) -> None:
        with capture.global_and_fixture_disabled():
            print(f"  {monotonic() - began:6.1f} s  {text}", file=sys.stderr, flush=True)

    earlier = Earlier.of(FROM)
    if not earlier.built:
        raise LabError("run `make test-upgrade`, which builds the earlier version first")
    lab = earlier.lab()
    if any(host.state != "down" for host in lab.status()):
        raise LabError("run `make lab-down` first: an upgrade begins with new hosts")
    pytestconfig.stash[LAB] = lab
    try:
        with ExitStack() as stack:
            stack.enter_context(deadline("the upgrade and its tests", SECONDS))
            lab.up(say)
            earlier.deploy(say)
            say("accounts, settings, mail and a queue")
            scene = prepare(lab)
            core = stack.enter_context(Core(lab.netns("client")))
            talk = begin(Stage(lab, core), (scene.a.domain, scene.b.domain))
            done = _upgrade(scene, talk, say)
            yield done
            done.watcher.stop()
    finally:
        if not os.environ.get("KEEP"):
            lab.down()


def _upgrade(scene: Scene, talk: TwoPeople, say: Progress) -> Upgraded:
    a, b, reader_a, reader_b = scene.a, scene.b, scene.reader_a, scene.reader_b
    senders = [
        Sender("465, local", by_tls(a.ip, scene.writer_a), scene.writer_a[0], reader_a[0]),
        Sender("587, to the other", by_starttls(a.ip, scene.writer_a), scene.writer_a[0], reader_b[0]),
        Sender("465, from the other", by_tls(b.ip, scene.writer_b), scene.writer_b[0], reader_a[0]),
    ]
    watcher = Watcher(a.ip, reader_a)
    watcher.start()
    with flowing(senders), talk.flowing():
        until("mail flows", lambda: all(one.taken for one in senders), 60)
        say("mail flows; this version over it")
        began = monotonic()
        scene.lab.deploy(say)
        say(f"upgraded in {monotonic() - began:.0f} s")
        before = [len(one.taken) for one in senders]
        until("mail goes on", lambda: _more(senders, before), 60)
    for one in senders:
        say(
            f"{one.name}: {len(one.taken)} taken, {len(one.later)} times later, {len(one.unknown)} unknown, "
            f"{len(one.refused)} refused; the longest took {one.longest:.1f} s"
        )
        for text in sorted(set(one.later)):
            say(f"    {one.later.count(text)} times {text}")
    say(f"the app that idles: {watcher.cuts} times cut off, {len(watcher.later)} times later")
    say(f"Delta Chat: {len(talk.sent)} texts")
    return Upgraded(scene, talk, senders, watcher)


def _more(senders: list[Sender], before: list[int]) -> bool:
    return all(len(one.taken) > count for one, count in zip(senders, before, strict=True))
