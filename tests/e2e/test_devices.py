"""Two devices with one account, one of them offline for a while, each with Delta Chat's core."""

from __future__ import annotations

from functools import partial

import pytest

from tests.chat import hops
from tests.chat.deadline import until
from tests.chat.person import Person, words
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


class TestTwoDevices:
    def test_both_get_what_comes(self, alice: Person, phone: Person, laptop: Person) -> None:
        text = words()
        marks = {one: one.events.mark() for one in (phone, laptop)}
        alice.send(alice.chat_with(phone), text)
        for device, mark in marks.items():
            device.received_text(text, mark, SECONDS)
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
            other.received_text(text, mark, SECONDS)
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
        phone.received_text(hers, mark, SECONDS)
        sent = phone.send(phone.chat_with(alice), mine)
        until("the phone's own copy is there", partial(hops.saved, b, sent.message_id, sent.at), SECONDS)
        assert hers not in laptop.texts(laptop.chat_with(alice))
        laptop.go_online()
        for text in (hers, mine):
            laptop.received_text(text, off, SECONDS)
        assert laptop.texts(laptop.chat_with(alice))[-2:] == [hers, mine]


def test_what_came_while_one_was_offline_is_there_once_and_in_order(
    b: LabHost, alice: Person, bob: Person
) -> None:
    bob.go_offline()
    off, texts = bob.events.mark(), [words() for _ in range(8)]
    chat = alice.chat_with(bob)
    for text in texts:
        sent = alice.send(chat, text)
        until(f"{text!r} lies there", partial(hops.saved, b, sent.message_id, sent.at), SECONDS)
    assert not set(texts) & set(bob.texts(bob.chat_with(alice)))
    bob.go_online()
    bob.received_text(texts[-1], off, SECONDS)
    # What would come twice would have come by then.
    last, mark = words(), bob.events.mark()
    alice.send(chat, last)
    bob.received_text(last, mark, SECONDS)
    assert [one for one in bob.texts(bob.chat_with(alice)) if one in {*texts, last}] == [*texts, last]
