"""One cause, as its sender sees it in Delta Chat: what the app shows of a message to one recipient."""

from __future__ import annotations

from dataclasses import dataclass
from time import time

from deltachat_rpc_client.rpc import JsonRpcError

from tests.bounces.causes import BounceCause
from tests.chat import relay
from tests.chat.deadline import LateError, until
from tests.chat.events import Event
from tests.chat.person import OUT_DELIVERED, OUT_FAILED, Person, SentMessage
from tests.lab import Lab

SECONDS = 60.0
_IGNORED = "Fetched unencrypted message, ignoring"


@dataclass(frozen=True)
class Sight:
    """What one of them sees: `error` as the app shows it, empty where the message looks delivered."""

    error: str
    seconds: float


def look(cause: BounceCause, lab: Lab, person: Person) -> Sight:
    """Let `person` write one message to one recipient, and wait for what comes of it."""
    with cause.circumstances(lab) as address:
        began = time()
        try:
            sent = person.send(_chat(cause, person, address), "Are you there?")
        except JsonRpcError as error:
            # The app itself won't.
            return Sight(str(error.args[0]["message"]), time() - began)

        every = 0.5 if cause.times_out else 0.05

        def over() -> str:
            if cause.times_out and relay.queued(lab.host("a"), address):
                lab.host("a").run("postqueue -f")
            return _outcome(person, sent)

        outcome = until(f"{cause.title}: an end at {person.address}", over, SECONDS, every)
        message = person.message(sent.id)
        expected = OUT_FAILED if outcome == "MsgFailed" else OUT_DELIVERED
        if message["state"] != expected:
            raise AssertionError(f"after {outcome} the message is in state {message['state']}")
        return Sight(message["error"] or "", time() - began)


def _chat(cause: BounceCause, person: Person, address: str) -> int:
    return person.chat_with_stranger(address) if cause.encrypted else person.chat_in_clear(address)


def _outcome(person: Person, sent: SentMessage) -> str:
    """The kind of the event that ends the story of a message, empty as long as there is none."""

    def ends(event: Event) -> bool:
        failed = event.kind == "MsgFailed" and event.fields.get("msgId") == sent.id
        return failed or (event.kind == "Warning" and _IGNORED in str(event.fields.get("msg")))

    try:
        return person.events.wait("an end", ends, 0, sent.mark).kind
    except LateError:
        return ""
