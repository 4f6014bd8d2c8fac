"""Two people with Delta Chat, one on each relay: they write to each other before, while and after."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.chat.deadline import until
from tests.chat.person import OUT_FAILED, Person, SentMessage
from tests.chat.stage import Stage

_EACH = 5.0


@dataclass
class TwoPeople:
    """`sent`: what Alice sent, by its text."""

    stage: Stage
    alice: Person
    bob: Person
    sent: dict[str, SentMessage] = field(default_factory=dict)

    @contextmanager
    def flowing(self) -> Iterator[None]:
        """Alice sends a text each few seconds while the block runs. Nothing else may use the core."""
        ended = threading.Event()

        def send() -> None:
            chat = self.alice.chat_with(self.bob)
            while not ended.is_set():
                text = f"text {len(self.sent)}"
                self.sent[text] = self.alice.send(chat, text)
                ended.wait(_EACH)

        thread = threading.Thread(target=send, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def shown_to_bob(self, seconds: float) -> list[str]:
        """Which of the texts he sees, in his order, once he sees as many as there are."""
        chat = self.bob.chat_with(self.alice)

        def shown() -> list[str]:
            return [text for text in self.bob.texts(chat) if text in self.sent]

        until("Bob sees the texts", lambda: len(shown()) >= len(self.sent), seconds, every=1)
        return shown()

    def failed(self) -> list[str]:
        """Those that Alice sees as failed."""
        states = {text: self.alice.message(sent.id)["state"] for text, sent in self.sent.items()}
        return [text for text, state in states.items() if state == OUT_FAILED]


def begin(stage: Stage, domains: tuple[str, str]) -> TwoPeople:
    """They get to know each other."""
    alice, bob = map(stage.newcomer, domains)
    stage.acquaint(alice, bob)
    return TwoPeople(stage, alice, bob)
