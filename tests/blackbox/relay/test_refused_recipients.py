"""A recipient that a peer refuses for good is refused at submission, until the peer takes mail for it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.blackbox.relay.installed_relay import (
    InstalledRelay,
    Script,
    ScriptedPeer,
    SeenPost,
    answer,
    deliver,
)
from tests.blackbox.relay.test_recipient_policy import ask, connected

UNKNOWN = b"550 5.1.1 <nobody12@_peer.test>: Recipient address rejected: User unknown\r\n"
PLAIN = {"Content_Type": "text/plain"}


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InstalledRelay]:
    relay = InstalledRelay(tmp_path_factory.mktemp("refusals"))
    key = relay.directory / "store.key"
    key.write_text("6b" * 32)
    relay.environment["CHATMAIL_STORE_KEY"] = str(key)
    relay.start()
    yield relay
    relay.close()


@pytest.fixture(scope="module")
def peer(relay: InstalledRelay) -> ScriptedPeer:
    return relay.peer()


def asked(relay: InstalledRelay, recipient: str) -> str:
    with connected(relay) as connection:
        return ask(connection, recipient)


def test_it_is_told_in_the_peers_words_until_the_peer_takes_mail(
    relay: InstalledRelay, peer: ScriptedPeer
) -> None:
    nobody = "nobody12@_peer.test"
    assert asked(relay, nobody) == "DUNNO"
    peer.script = answer(422, UNKNOWN, **PLAIN)
    assert deliver(relay, nobody)[0][0] == 550
    assert asked(relay, nobody) == "550 5.1.1 User unknown"
    assert asked(relay, "NOBODY12@_PEER.test") == "550 5.1.1 User unknown"
    assert asked(relay, "somebody@_peer.test") == "DUNNO"
    # Another sender's message, or one of several recipients', that is under way already.
    peer.script = answer(200, b"250 2.0.0 OK\r\n", **PLAIN)
    assert deliver(relay, nobody)[0][0] == 250
    assert asked(relay, nobody) == "DUNNO"


def test_a_full_mailbox_too(relay: InstalledRelay, peer: ScriptedPeer) -> None:
    peer.script = answer(507, b"552 5.2.2 Quota exceeded (mailbox for user is full)\r\n", **PLAIN)
    assert deliver(relay, "full1234@_peer.test")[0][0] == 552
    assert asked(relay, "full1234@_peer.test") == "552 5.2.2 Quota exceeded (mailbox for user is full)"


def test_of_several_each_has_its_own(relay: InstalledRelay, peer: ScriptedPeer) -> None:
    peer.script = each
    recipients = ["gone1234@_peer.test", "here1234@_peer.test"]
    assert [code for code, _ in deliver(relay, *recipients)] == [550, 250]
    assert [asked(relay, one)[:3] for one in recipients] == ["550", "DUN"]


def each(_seen: SeenPost) -> tuple[int, dict[str, str], bytes]:
    replies = [
        {"address": "gone1234@_peer.test", "code": 550, "status": "5.1.1", "text": "User unknown"},
        {"address": "here1234@_peer.test", "code": 250, "status": "2.0.0", "text": "OK"},
    ]
    return 200, {"Content-Type": "application/json"}, json.dumps({"recipients": replies}).encode()


@pytest.mark.parametrize(
    "script",
    [
        answer(403, b"554 5.7.1 Sender or network is blocked here\r\n", **PLAIN),
        answer(413, b"552 5.3.4 Message is larger than this system takes\r\n", **PLAIN),
        answer(503, b"450 4.2.2 Try again later\r\n", Retry_After="60", **PLAIN),
        answer(404, b"not here", **PLAIN),
    ],
)
def test_what_is_about_a_message_or_passes_says_nothing_of_the_next(
    relay: InstalledRelay, peer: ScriptedPeer, script: Script
) -> None:
    peer.script = script
    deliver(relay, "other123@_peer.test")
    assert asked(relay, "other123@_peer.test") == "DUNNO"


def test_it_outlives_a_restart_and_the_store_names_nobody(relay: InstalledRelay, peer: ScriptedPeer) -> None:
    peer.script = answer(422, UNKNOWN.replace(b"nobody12", b"stayed12"), **PLAIN)
    relay.ctl("endpoints", "forget", "--all")
    assert deliver(relay, "stayed12@_peer.test")[0][0] == 550
    assert relay.stop() == 0
    relay.start()
    assert asked(relay, "stayed12@_peer.test") == "550 5.1.1 User unknown"
    stored = b"".join(one.read_bytes() for one in relay.directory.glob("store.sqlite*"))
    assert b"User unknown" in stored
    assert b"stayed12" not in stored
    assert "stayed12" not in relay.log
