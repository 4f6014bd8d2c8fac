"""People in one group, and what one of them says, as it arrives at each of the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.chat.deadline import deadline
from tests.chat.person import Person, ReceivedMessage, SentMessage


@dataclass(frozen=True)
class GroupMessage:
    """A message in a group, and what each of the others got of it."""

    sent: SentMessage
    received: Mapping[Person, ReceivedMessage]


@dataclass(frozen=True)
class ChatGroup:
    """`chats`: what the group is called in each one's core."""

    chats: Mapping[Person, int]

    @property
    def people(self) -> list[Person]:
        """Who founded it comes first."""
        return list(self.chats)

    def say(self, sender: Person, text: str, seconds: float) -> GroupMessage:
        """Send a text that nobody has sent before, and wait until everybody else's core shows it."""
        return _say(
            sender, self.chats[sender], [one for one in self.people if one is not sender], text, seconds
        )


def found(name: str, people: Sequence[Person], seconds: float) -> ChatGroup:
    """A group of the first with all the others, who have got its first message and said yes to it."""
    founder, *others = people
    chat = founder.found_group(name, others)
    said = _say(founder, chat, others, f"welcome to {name}", seconds)
    chats = {one: int(received.message["chatId"]) for one, received in said.received.items()}
    for one, number in chats.items():
        one.accept(number)
    return ChatGroup({founder: chat, **chats})


def _say(sender: Person, chat: int, others: Sequence[Person], text: str, seconds: float) -> GroupMessage:
    with deadline(f"{text!r} from {sender.address}", seconds):
        marks = {one: one.events.mark() for one in others}
        sent = sender.send(chat, text)
        received = {one: one.received_text(text, mark, seconds) for one, mark in marks.items()}
    return GroupMessage(sent, received)
