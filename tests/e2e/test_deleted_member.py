"""An account of a group is deleted while the other members, on two relays, continue to write."""

from __future__ import annotations

import secrets
from functools import partial

import pytest

from tests.chat import journal, relay
from tests.chat.deadline import until
from tests.chat.events import Event
from tests.chat.group import ChatGroup, found
from tests.chat.person import OUT_DELIVERED, Person, SentMessage
from tests.chat.queue_log import LoggedDelivery, queue_files
from tests.chat.stage import Stage
from tests.lab.host import LabHost

SECONDS = 40.0
# What the core says of a bounce: of a message to a group it shows its user nothing.
BOUNCE = "Message is a DSN"

# What each writer has written: texts and messages.
Written = dict[Person, list[tuple[str, SentMessage]]]


@pytest.fixture(scope="module")
def group(stage: Stage, a: LabHost, b: LabHost) -> ChatGroup:
    """Two on _a.lab and three on _b.lab, the last of whom goes: their device is off. All see bounces."""
    people = [stage.newcomer(domain) for domain in (a.domain, a.domain, b.domain, b.domain, b.domain)]
    for one in people:
        one.accept_cleartext()
    group = found("five", people, SECONDS)
    people[-1].go_offline()
    return group


@pytest.fixture(scope="module")
def gone(group: ChatGroup) -> Person:
    return group.people[-1]


@pytest.fixture(scope="module")
def written(b: LabHost, group: ChatGroup, gone: Person) -> Written:
    """One half before the account was deleted, the other after."""
    written: Written = {one: [] for one in group.people if one is not gone}

    def all_write() -> None:
        for writer, texts in written.items():
            for _ in range(3):
                text = f"hello {secrets.token_hex(4)}"
                texts.append((text, writer.send(group.chats[writer], text)))

    all_write()
    relay.operate(b, "account", "delete", gone.address)
    all_write()
    return written


def test_all_others_get_all_that_is_written_once(group: ChatGroup, written: Written) -> None:
    texts = {text for many in written.values() for text, _ in many}
    for one in written:
        chat = group.chats[one]
        until(f"all texts at {one.address}", lambda one=one, chat=chat: texts <= {*one.texts(chat)}, SECONDS)  # type: ignore[misc]
        assert sorted(text for text in one.texts(chat) if text in texts) == sorted(texts)


@pytest.mark.parametrize("number", [0, 2], ids=["on a", "on b"])
def test_who_writes_to_the_group_gets_a_bounce_and_the_others_their_mail(
    stage: Stage, group: ChatGroup, gone: Person, written: Written, number: int
) -> None:
    writer = group.people[number]
    _, sent = written[writer][-1]

    def bounced(event: Event) -> bool:
        return event.kind == "Info" and BOUNCE in str(event.fields["msg"])

    writer.events.wait(f"a bounce at {writer.address}", bounced, SECONDS, sent.mark)
    host = stage.host_of(writer.address)
    ends = until("all have an end", partial(_ends, host, sent, len(group.people) - 1), SECONDS)
    assert {one.recipient for one in ends if one.status == "bounced" and one.dsn == "5.1.1"} == {gone.address}
    assert {one.status for one in ends if one.recipient != gone.address} == {"sent"}
    # The app takes the message for delivered, as it was to all others.
    assert writer.message(sent.id)["state"] == OUT_DELIVERED


@pytest.mark.usefixtures("written")
@pytest.mark.parametrize("number", [0, 2], ids=["on a", "on b"])
def test_who_writes_to_it_alone_is_refused(group: ChatGroup, gone: Person, number: int) -> None:
    writer = group.people[number]
    # By the first at the latest, the relay of the writer on a learns what the other relay says.
    for _ in range(2):
        _, error = writer.failed(writer.send(writer.chat_with(gone), "Are you there?"), SECONDS)
    assert error.startswith("Permanent SMTP error")
    assert gone.address in error
    assert " 5.1.1 " in error


@pytest.mark.usefixtures("written")
def test_nothing_waits_for_it_and_nothing_of_it_lies_there(a: LabHost, b: LabHost, gone: Person) -> None:
    for host in (a, b):
        until("nothing waits for it", partial(relay.is_done_with, host, gone.address), SECONDS, every=1)
    name = gone.address.partition("@")[0]
    assert b.run(["find", "/var/vmail", "-name", name]).stdout == ""
    assert b.run("ls -A /var/vmail/.deleted").stdout == ""


def _ends(host: LabHost, sent: SentMessage, count: int) -> list[LoggedDelivery]:
    """What became of a message for each recipient, once it has: some may have waited first."""
    files = queue_files(journal.read(host, sent.at - 0.5))
    tried = [one for file in files if file.message_id == sent.message_id for one in file.deliveries]
    last = {one.recipient: one for one in tried if one.status != "deferred"}
    return list(last.values()) if len(last) == count else []
