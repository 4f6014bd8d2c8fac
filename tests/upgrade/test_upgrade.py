"""Nothing is lost by an upgrade, and nobody has to do anything but try again.

The tests stand in order: the last ones change what the ones before them look at.
"""

from __future__ import annotations

from collections import Counter

import pytest

from tests.chat import login, relay
from tests.chat.deadline import until
from tests.upgrade.conftest import Upgraded
from tests.upgrade.mailbox import look

SECONDS = 120.0


@pytest.mark.parametrize("name", ["a", "b"])
def test_each_message_that_was_taken_is_in_its_mailbox_once(upgraded: Upgraded, name: str) -> None:
    scene = upgraded.scene
    host, reader = scene.lab.host(name), {"a": scene.reader_a, "b": scene.reader_b}[name]
    senders = [one for one in upgraded.senders if one.recipient == reader[0]]
    taken = {mid for one in senders for mid in one.taken}
    unknown = {mid for one in senders for mid in one.unknown}
    assert len(taken) > 10

    def arrived() -> bool:
        scene.a.run("postqueue -f")
        scene.b.run("postqueue -f")
        return taken <= set(look(host.ip, reader).mids)

    until("all of it is in the mailbox", arrived, SECONDS, every=2)
    copies = Counter(look(host.ip, reader).mids)
    assert {mid: count for mid, count in copies.items() if count > 1} == {}
    assert set(copies) <= taken | unknown


def test_no_refusal_was_final(upgraded: Upgraded) -> None:
    assert {one.name: one.refused for one in upgraded.senders if one.refused} == {}
    assert upgraded.watcher.refusals == []


def test_an_app_that_idles_fetched_each_message_once(upgraded: Upgraded) -> None:
    scene, watcher = upgraded.scene, upgraded.watcher
    there = look(scene.a.ip, scene.reader_a).mids
    until("the app has all of it", lambda: len(watcher.seen) >= len(there), SECONDS)
    assert sorted(watcher.seen) == sorted(there)
    assert len(watcher.validities) == 1


def test_delta_chat_goes_on(upgraded: Upgraded) -> None:
    talk = upgraded.talk
    assert len(talk.sent) > 5
    assert sorted(talk.shown_to_bob(SECONDS)) == sorted(talk.sent)
    assert talk.failed() == []
    talk.stage.say(talk.bob, talk.alice)


def test_mail_keeps_its_uids_flags_and_octets(upgraded: Upgraded) -> None:
    before, now = upgraded.scene.folders, upgraded.scene.folders_now()
    assert [len(before[name].messages) for name in ("INBOX", "Archive")] == [3, 2]
    assert now == before


@pytest.mark.parametrize("name", ["a", "b"])
def test_accounts_settings_and_keys_are_the_same(upgraded: Upgraded, name: str) -> None:
    scene = upgraded.scene
    host = scene.lab.host(name)
    before, now = scene.states[name], scene.state(host)
    # Alice and Bob came after that.
    assert {address: now.accounts.get(address) for address in before.accounts} == before.accounts
    assert now.settings == before.settings
    assert before.settings["account quota"]["own"] is True
    assert len(before.files) > 3
    assert {path: now.files.get(path) for path in before.files} == before.files


def test_a_suspended_account_is_suspended(upgraded: Upgraded) -> None:
    scene = upgraded.scene
    assert not login.by_imap(scene.a.ip, *scene.suspended).startswith("OK")
    assert login.by_imap(scene.a.ip, *scene.keeper).startswith("OK")


def test_the_queue_is_kept_and_delivered_when_the_peer_is_back(upgraded: Upgraded) -> None:
    scene = upgraded.scene
    assert scene.waiting() == sorted([*scene.queued, *scene.held])
    assert scene.statuses() == {"deferred": len(scene.queued), "hold": len(scene.held)}
    scene.return_peer()

    def arrived() -> bool:
        scene.a.run("postqueue -f")
        there = set(look(scene.b.ip, scene.reader_b).mids)
        return not scene.waiting() and set(scene.held) <= there

    until("the queue is empty", arrived, SECONDS, every=2)
    until("it is at the peer", lambda: len(scene.arrived_at_peer()) >= len(scene.queued), SECONDS, every=1)
    assert scene.arrived_at_peer() == sorted(scene.queued)
    copies = Counter(look(scene.b.ip, scene.reader_b).mids)
    assert [copies[mid] for mid in scene.held] == [1] * len(scene.held)


def test_a_second_run_changes_nothing(upgraded: Upgraded) -> None:
    lab = upgraded.scene.lab
    changed: list[str] = []
    counts = lab.deploy(lambda text: changed.append(text) if ": changed" in text else None)
    assert counts.changed == 0, changed
    assert [relay.failed_units(lab.host(name)) for name in ("a", "b")] == ["", ""]
