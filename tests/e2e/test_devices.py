"""Two devices with one account, one of them offline for a while, each with Delta Chat's core."""

from __future__ import annotations

import secrets
from functools import partial

import pytest

from tests.chat import journal
from tests.chat.deadline import until
from tests.chat.person import Person, SentMessage
from tests.chat.stage import Stage
from tests.lab.host import LabHost

SECONDS = 40.0


@pytest.fixture(scope="module")
def phone(stage: Stage, b: LabHost, alice: Person) -> Person:
    """Of someone on _b.lab who is in contact with Alice."""
    phone = stage.newcomer(b.domain)
    stage.acquaint(alice, phone)
    return phone


@pytest.fixture(scope="module")
def laptop(phone: Person) -> Person:
    """Theirs as well, set up from the phone."""
    return phone.another_device()


def words() -> str:
    return f"hello {secrets.token_hex(4)}"


def arrives(at: Person, text: str, since: int) -> None:
    at.received(f"{text!r} at {at.address}", lambda shown: shown["text"] == text, since, SECONDS)


def lies_there(host: LabHost, sent: SentMessage) -> bool:
    """Whether Dovecot has laid the message into a mailbox of this host."""
    told = journal.read(host, sent.at - 0.5)
    return any(sent.message_id in one.text and "saved mail to" in one.text for one in told)


class TestTwoDevices:
    def test_both_get_what_comes(self, alice: Person, phone: Person, laptop: Person) -> None:
        text = words()
        marks = {one: one.events.mark() for one in (phone, laptop)}
        alice.send(alice.chat_with(phone), text)
        for device, mark in marks.items():
            arrives(device, text, mark)
        assert [one.texts(one.chat_with(alice)).count(text) for one in (phone, laptop)] == [1, 1]

    @pytest.mark.parametrize("sender", ["phone", "laptop"])
    def test_what_one_sends_shows_on_the_other(
        self, alice: Person, phone: Person, laptop: Person, sender: str
    ) -> None:
        here, there = (phone, laptop) if sender == "phone" else (laptop, phone)
        text = words()
        marks = {one: one.events.mark() for one in (alice, there)}
        here.send(here.chat_with(alice), text)
        for other, mark in marks.items():
            arrives(other, text, mark)
        # To Alice it came from one and the same person, once; on the other device it is the user's own.
        assert alice.texts(alice.chat_with(phone)).count(text) == 1
        assert there.texts(there.chat_with(alice)).count(text) == 1

    def test_one_that_was_off_gets_all_that_the_other_had_read(
        self, b: LabHost, alice: Person, phone: Person, laptop: Person
    ) -> None:
        laptop.go_offline()
        mine, hers = words(), words()
        mark, off = phone.events.mark(), laptop.events.mark()
        alice.send(alice.chat_with(phone), hers)
        arrives(phone, hers, mark)
        sent = phone.send(phone.chat_with(alice), mine)
        until("the phone's own copy is there", partial(lies_there, b, sent), SECONDS)
        assert hers not in laptop.texts(laptop.chat_with(alice))
        laptop.go_online()
        for text in (hers, mine):
            arrives(laptop, text, off)
        assert laptop.texts(laptop.chat_with(alice))[-2:] == [hers, mine]


def test_what_came_while_one_was_offline_is_there_once_and_in_order(
    b: LabHost, alice: Person, bob: Person
) -> None:
    bob.go_offline()
    off, texts = bob.events.mark(), [words() for _ in range(8)]
    chat = alice.chat_with(bob)
    for text in texts:
        until(f"{text!r} lies there", partial(lies_there, b, alice.send(chat, text)), SECONDS)
    assert not set(texts) & set(bob.texts(bob.chat_with(alice)))
    bob.go_online()
    arrives(bob, texts[-1], off)
    # What would come twice would have come by then.
    last, mark = words(), bob.events.mark()
    alice.send(chat, last)
    arrives(bob, last, mark)
    assert [one for one in bob.texts(bob.chat_with(alice)) if one in {*texts, last}] == [*texts, last]
