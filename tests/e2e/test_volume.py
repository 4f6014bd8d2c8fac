"""Volume between two relays: 200 messages in a row.

A relay takes 10 messages of one user at once by default, then one a second. Here the operator has set more.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import pairwise

import pytest

from tests.chat import journal, settings
from tests.chat.deadline import until
from tests.chat.person import Person
from tests.chat.queue_log import queue_files
from tests.chat.stage import Stage
from tests.lab.host import LabHost

BURST = 200
BURST_SECONDS = 120.0


@pytest.fixture
def _no_rate(a: LabHost) -> Iterator[None]:
    with settings.changed(a, "rate_per_minute", "0", settings.MILTER):
        yield


@pytest.mark.usefixtures("_no_rate")
def test_messages_in_a_row_are_shown_complete_and_in_order(stage: Stage, a: LabHost, b: LabHost) -> None:
    sender, receiver = _strangers(stage, a, b)
    began, chat = time.time(), sender.chat_with(receiver)
    sent = [sender.send(chat, f"number {number}") for number in range(BURST)]
    there = receiver.chat_with(sender)

    def shown() -> list[int]:
        texts = (text.split() for text in receiver.texts(there))
        return [int(words[1]) for words in texts if words[0] == "number"]

    until("all are there", lambda: len(shown()) >= BURST, BURST_SECONDS, every=0.5)
    took, order = time.time() - began, shown()
    assert sorted(order) == list(range(BURST))
    # The app sorts by Date, as the sender's core wrote it, which is one and the same for many of them.
    dates = [sender.message(one.id)["timestamp"] for one in sent]
    assert [dates[number] for number in order] == sorted(dates)
    arrived = _arrived(b, [one.message_id for one in sent], began)
    assert sorted(arrived) == list(range(BURST))
    # Told, not asked: within one second the app shows what comes first, and Postfix hands to Dovecot many at
    # once. That the sending relay keeps the order is asked in test_relay_order, _turns and _policy.
    late = {"at the relay": _overtaken(arrived), "in the app": _overtaken(order)}
    print(f"{BURST} messages of {len(set(dates))} seconds, shown after {took:.1f} s; overtaken: {late}")


def _strangers(stage: Stage, a: LabHost, b: LabHost) -> tuple[Person, Person]:
    """Two who are in contact, and whose connections know the relays as they are now."""
    sender, receiver = stage.newcomer(a.domain), stage.newcomer(b.domain)
    stage.acquaint(receiver, sender)
    return sender, receiver


def _arrived(host: LabHost, message_ids: list[str], since: float) -> list[int]:
    """The numbers of the messages in the order in which they came to this host."""
    numbers = {one: number for number, one in enumerate(message_ids)}
    files = sorted(queue_files(journal.read(host, since)), key=lambda file: file.came)
    return [numbers[file.message_id] for file in files if file.message_id in numbers]


def _overtaken(order: list[int]) -> int:
    return sum(earlier > later for earlier, later in pairwise(order))
