"""A group of ten on two relays: each member gets each message, and the writers get its state."""

from __future__ import annotations

import pytest

from tests.chat import journal
from tests.chat.deadline import until
from tests.chat.group import ChatGroup, GroupMessage, found
from tests.chat.person import OUT_READ, words
from tests.chat.queue_log import QueueFile, queue_files
from tests.chat.stage import Stage
from tests.lab.host import LabHost

SECONDS = 40.0


@pytest.fixture(scope="module")
def ten(stage: Stage, a: LabHost, b: LabHost) -> ChatGroup:
    """Five on _a.lab, the founder first, then five on _b.lab."""
    return found("ten", [stage.newcomer(host.domain) for host in (a, b) for _ in range(5)], SECONDS)


@pytest.fixture(scope="module")
def welcomed(ten: ChatGroup) -> GroupMessage:
    """A message of the founder's that all have got."""
    return ten.say(ten.people[0], words(), SECONDS)


def done_with(host: LabHost, message_id: str, since: float) -> list[QueueFile]:
    """What the host's queue had of a message, when it has no more of it."""

    def done() -> list[QueueFile]:
        files = queue_files(journal.read(host, since - 0.5))
        ours = [file for file in files if file.message_id == message_id]
        return ours if all(file.removed for file in ours) else []

    return until(f"the queue of {host.domain} is done with it", done, SECONDS)


def test_everyone_gets_what_each_of_several_says(ten: ChatGroup) -> None:
    texts = [words() for _ in range(4)]
    for number, text in zip((0, 3, 6, 9), texts, strict=True):
        ten.say(ten.people[number], text, SECONDS)
    for one, chat in ten.chats.items():
        assert [text for text in one.texts(chat) if text in texts] == texts


@pytest.mark.parametrize(
    ("sender", "here", "there"), [(1, "a", "b"), (8, "b", "a")], ids=["from a", "from b"]
)
def test_a_message_to_nine_is_one_submission_and_crosses_once(
    stage: Stage, ten: ChatGroup, sender: int, here: str, there: str
) -> None:
    sent = ten.say(ten.people[sender], words(), SECONDS).sent
    others = {one.address for number, one in enumerate(ten.people) if number != sender}
    domain = stage.lab.host(there).domain
    for host, service, to in (
        (here, "submission", others),
        (there, "mxdeliv", {one for one in others if one.endswith(f"@{domain}")}),
    ):
        (file,) = done_with(stage.lab.host(host), sent.message_id, sent.at)
        assert file.service == service
        assert sorted(one.recipient for one in file.deliveries) == sorted(to)
        assert {one.status for one in file.deliveries} == {"sent"}


def test_the_writer_is_told_that_all_nine_have_read_it(ten: ChatGroup, welcomed: GroupMessage) -> None:
    founder, sent = ten.people[0], welcomed.sent
    assert founder.readers(sent.id) == 0
    for one, received in welcomed.received.items():
        one.read(int(received.message["id"]))
    until("nine receipts", lambda: founder.readers(sent.id) == 9, SECONDS)
    assert founder.message(sent.id)["state"] == OUT_READ


def test_reactions_show_at_the_writer_and_at_everyone_else(ten: ChatGroup, welcomed: GroupMessage) -> None:
    numbers = {ten.people[0]: welcomed.sent.id}
    numbers |= {one: int(received.message["id"]) for one, received in welcomed.received.items()}
    for number, emoji in ((2, "👍"), (7, "👍"), (9, "🎉")):
        person = ten.people[number]
        person.react(numbers[person], emoji)
    for one, message in numbers.items():
        until(
            f"all reactions at {one.address}",
            lambda one=one, message=message: one.reactions(message) == {"👍": 2, "🎉": 1},  # type: ignore[misc]
            SECONDS,
        )
