"""A profile on three relays: both of ours, and one that is dead. Nothing is lost, and nothing comes twice.

The core sends a message once, to all addresses that the key of its reader names (chatmail/core#7898). So one
of three recipients is never reached, or refused, while the message arrives by the others.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial

import pytest

from tests.chat import dead_relay, firewall, hops, journal, relay, settings
from tests.chat.deadline import until
from tests.chat.person import OUT_DELIVERED, Person, ReceivedMessage, SentMessage, fresh_address, words
from tests.chat.queue_log import queue_files
from tests.chat.stage import Stage
from tests.lab import Lab
from tests.lab.host import LabHost

SECONDS = 40.0


@dataclass(frozen=True)
class Talk:
    """Two people, and the chat that each has with the other: addresses change with the relay one sends by."""

    people: tuple[Person, Person]
    chats: tuple[int, int]

    def says(self, who: int) -> tuple[str, SentMessage, ReceivedMessage]:
        """A text of the first's (0) or the second's (1), which has arrived."""
        text, reader = words(), self.people[1 - who]
        mark = reader.events.mark()
        sent = self.people[who].send(self.chats[who], text)
        return text, sent, reader.received_text(text, mark, SECONDS)

    def shown(self, who: int) -> list[str]:
        """The texts of the chat."""
        return self.people[who].texts(self.chats[who])

    def state(self, who: int, sent: SentMessage) -> int:
        return int(self.people[who].message(sent.id)["state"])


ANNA, BOB = 0, 1
# bounce(8) logs it of a message, with the queue id of the report.
NOTICE = re.compile(r"(\w+): sender non-delivery notification: (\w+)")


def acquainted(joiner: Person, inviter: Person) -> Talk:
    """The joiner has the inviter's key, with all addresses."""
    chat = joiner.join(inviter, SECONDS)
    return Talk((joiner, inviter), (chat, inviter.chat_with(joiner)))


def is_bounced(host: LabHost, sent: SentMessage, sender: Person) -> bool:
    """Whether a bounce of the message lies in the sender's mailbox."""
    entries = journal.read(host, sent.at - 0.5)
    files = {file.id: file for file in queue_files(entries)}
    ours = {one.id for one in files.values() if one.message_id == sent.message_id}
    noted = filter(None, (NOTICE.fullmatch(entry.text) for entry in entries))
    bounces = [files[one[2]] for one in noted if one[1] in ours and one[2] in files]
    return any(
        one.recipient == sender.address and one.status == "sent"
        for file in bounces
        for one in file.deliveries
    )


@pytest.fixture(scope="module")
def bob(stage: Stage, a: LabHost, b: LabHost) -> Person:
    """Someone on _a.lab and _b.lab."""
    bob = stage.newcomer(a.domain)
    bob.join_relay(b.domain)
    return bob


@pytest.fixture(scope="module")
def dead(lab: Lab, bob: Person) -> str:
    """The address of Bob's on a third relay, which died after his first login."""
    return dead_relay.join(lab, bob)


@pytest.fixture(scope="module")
def talk(stage: Stage, b: LabHost, bob: Person, dead: str) -> Talk:
    """Of Anna, on _b.lab, and Bob, whose three addresses she has."""
    talk = acquainted(stage.newcomer(b.domain), bob)
    assert dead
    return talk


class TestOneIsDead:
    def test_what_comes_is_on_both_others_and_shows_once(
        self, a: LabHost, b: LabHost, talk: Talk, dead: str
    ) -> None:
        texts = []
        for _ in range(3):
            text, sent, _ = talk.says(ANNA)
            texts.append(text)
            for host in (a, b):
                until(
                    f"it lies on {host.domain}", partial(hops.saved, host, sent.message_id, sent.at), SECONDS
                )
            assert talk.state(ANNA, sent) == OUT_DELIVERED
        # For the dead one they wait, and hold up nothing.
        assert len(relay.queued(b, dead)) >= len(texts)
        # What would show twice came before this.
        last, *_ = talk.says(ANNA)
        assert [one for one in talk.shown(BOB) if one in {*texts, last}] == [*texts, last]

    def test_what_goes_arrives_once_and_is_shown_as_delivered(self, talk: Talk) -> None:
        found = [talk.says(BOB) for _ in range(3)]
        assert [talk.state(BOB, sent) for _, sent, _ in found] == [OUT_DELIVERED] * 3
        texts = [text for text, *_ in found]
        assert [one for one in talk.shown(ANNA) if one in texts] == texts

    def test_when_the_queue_gives_it_up_the_message_stays_delivered(self, b: LabHost, talk: Talk) -> None:
        with settings.impatient(b, "3s"):
            _, sent, _ = talk.says(ANNA)
            until("a bounce for the dead one", partial(is_bounced, b, sent, talk.people[ANNA]), SECONDS)
        # She has read what came before this, too.
        talk.says(BOB)
        assert talk.state(ANNA, sent) == OUT_DELIVERED

    @pytest.mark.usefixtures("dead")
    def test_someone_new_who_is_invited_joins_one_that_lives(
        self, stage: Stage, a: LabHost, b: LabHost, bob: Person
    ) -> None:
        new = Person(stage.core, "", "")
        new.onboard(bob)
        assert new.address.partition("@")[2] in (a.domain, b.domain)
        talk = acquainted(new, bob)
        for who in (ANNA, BOB):
            _, sent, _ = talk.says(who)
            assert talk.state(who, sent) == OUT_DELIVERED


@pytest.mark.parametrize("domain", ["nowhere.lab", "_a.lab"], ids=["domain gone", "account gone"])
class TestOneRefuses:
    """A domain has gone, or an account: the bounce comes at once."""

    @pytest.fixture
    def reader(self, stage: Stage, a: LabHost, b: LabHost, domain: str) -> Person:
        reader = stage.newcomer(a.domain)
        reader.join_relay(b.domain)
        stage.core.rpc.add_pseudo_transport(reader.account, fresh_address(domain))
        return reader

    def test_a_profile_as_the_app_makes_it_shows_the_message_as_delivered(
        self, stage: Stage, b: LabHost, reader: Person
    ) -> None:
        talk = acquainted(stage.newcomer(b.domain), reader)
        _, sent, _ = talk.says(ANNA)
        until("a bounce for the one", partial(is_bounced, b, sent, talk.people[ANNA]), SECONDS)
        talk.says(BOB)
        assert talk.state(ANNA, sent) == OUT_DELIVERED

    def test_a_profile_that_sees_bounces_is_told_of_this_address_alone(
        self, stage: Stage, b: LabHost, reader: Person, domain: str
    ) -> None:
        """The core shows the message as failed, though it arrived (chatmail/core#8241): a known issue."""
        old = stage.newcomer(b.domain)
        old.accept_cleartext()
        talk = acquainted(old, reader)
        _, sent, _ = talk.says(ANNA)
        _, error = old.failed(sent, SECONDS)
        assert f"@{domain}>" in error
        assert reader.address not in error


class TestOneOfOursStops:
    def test_what_comes_and_goes_meanwhile_takes_the_other(self, a: LabHost, b: LabHost, talk: Talk) -> None:
        with firewall.cut_off(a):
            came = [talk.says(ANNA) for _ in range(3)]
            # The core tries the next relay after half a minute.
            went = talk.says(BOB)
            came.append(talk.says(ANNA))
        assert [talk.state(ANNA, sent) for _, sent, _ in came] == [OUT_DELIVERED] * len(came)
        assert talk.state(BOB, went[1]) == OUT_DELIVERED
        # What waited for _a.lab comes now, and is the same to Bob.
        bob = talk.people[BOB]
        until("nothing waits", partial(relay.is_done_with, b, bob.address), SECONDS, every=1)
        # _b.lab has done with it when it is in the queue of _a.lab.
        for _, sent, _ in came:
            until(f"it lies on {a.domain}", partial(hops.saved, a, sent.message_id, sent.at), SECONDS)
        came.append(talk.says(ANNA))
        texts = [text for text, *_ in came]
        assert [one for one in talk.shown(BOB) if one in texts] == texts
        assert talk.shown(ANNA).count(went[0]) == 1
