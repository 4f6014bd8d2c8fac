"""The oldest Delta Chat core that can talk with the current one works with the relays as that one does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chat.deadline import deadline
from tests.chat.oldest_core import OldestCore, OldestPerson
from tests.chat.person import Person, ReceivedMessage, fresh_address, fresh_password, words
from tests.chat.stage import LOGIN_SECONDS, SECUREJOIN_SECONDS, TEXT_SECONDS, Stage
from tests.lab import Lab
from tests.lab.host import LabHost
from tests.lab.plan import REPOSITORY

PINS = REPOSITORY / "requirements/oldest-core.txt"


@pytest.fixture(scope="module")
def core(lab: Lab) -> Iterator[OldestCore]:
    with OldestCore(lab.netns("client")) as core:
        yield core


@pytest.fixture
def olga(core: OldestCore, a: LabHost) -> Person:
    """Someone with the oldest core, whose first login makes an account on _a.lab."""
    olga = OldestPerson(core, fresh_address(a.domain), fresh_password())
    with deadline("first login with the oldest core", LOGIN_SECONDS):
        olga.log_in()
    return olga


def say(sender: Person, chat: int, receiver: Person) -> ReceivedMessage:
    """A text, as the receiver's core shows it. Who was not told in IDLE would ask for mail minutes later."""
    text = words()
    mark = receiver.events.mark()
    sender.send(chat, text)
    return receiver.received_text(text, mark, TEXT_SECONDS)


def test_it_is_the_version_that_is_pinned(core: OldestCore) -> None:
    assert f"deltachat-rpc-server=={core.version.removeprefix('v')} " in PINS.read_text("utf-8")


@pytest.mark.parametrize("scans", ["oldest", "current"])
def test_it_does_securejoin_and_texts_with_the_current_core(
    stage: Stage, olga: Person, b: LabHost, scans: str
) -> None:
    bob = stage.newcomer(b.domain)
    joiner, inviter = (olga, bob) if scans == "oldest" else (bob, olga)
    with deadline("SecureJoin", SECUREJOIN_SECONDS):
        chat = joiner.join(inviter, SECUREJOIN_SECONDS)
    with deadline("a text", TEXT_SECONDS):
        text = say(joiner, chat, inviter)
    with deadline("its answer", TEXT_SECONDS):
        answer = say(inviter, text.message["chatId"], joiner)
    assert text.message["showPadlock"]
    assert answer.message["showPadlock"]
