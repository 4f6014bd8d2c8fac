"""The port for smtp(8)'s fallback gives one reply for all recipients, and none gets the message twice."""

from __future__ import annotations

import itertools
import json

import pytest

from tests.blackbox.relay.installed_relay import (
    MESSAGE,
    InstalledRelay,
    ScriptedPeer,
    SeenPost,
    accept_all,
    answer,
    https_only,
)

TAKEN = (250, b"2.0.0 OK")
SENDER = "u@_here.test"
Row = dict[str, object]


def row(address: str, line: str) -> Row:
    code, status, text = line.split(" ", 2)
    return {"address": address, "code": int(code), "status": status, "text": text}


def one_by_one(seen: SeenPost) -> tuple[int, dict[str, str], bytes]:
    """Takes mail for ann and cy, and knows no bob; dan's mailbox is full, eve has to wait."""
    name = seen.values("X-Mail-To")[0].partition("@")[0]
    refusals = {
        "bob": answer(422, b"550 5.1.1 No such user\r\n"),
        "dan": answer(507, b"552 5.2.2 Mailbox full\r\n"),
        "eve": answer(503, b"451 4.3.0 Later\r\n"),
    }
    return refusals.get(name, accept_all)(seen)


@pytest.fixture
def singly(relay: InstalledRelay, domain: str) -> str:
    """A domain whose route is one POST per recipient."""
    relay.ctl("route", "set", domain, "--one-per-recipient")
    return domain


def retried(relay: InstalledRelay, first: tuple[str, ...]) -> list[tuple[tuple[int, bytes], list[str]]]:
    """Replies to each message of `first`, and then of what was handed back, until nothing is."""
    waiting = [list(first)]
    found: list[tuple[tuple[int, bytes], list[str]]] = []
    for _ in range(10):
        if not waiting:
            return found
        recipients = waiting.pop(0)
        found.append((https_only(relay, *recipients), recipients))
        for sender, again, content in relay.sink.taken:
            assert (sender, content) == (SENDER, MESSAGE)
            waiting.append(again)
        relay.sink.taken.clear()
    raise AssertionError("mail goes in circles")


def posts(peer: ScriptedPeer) -> list[str]:
    return [one.partition("@")[0] for seen in peer.seen for one in seen.values("X-Mail-To")]


def test_who_has_it_gets_it_once_and_who_is_refused_hears_why(
    relay: InstalledRelay, peer: ScriptedPeer, singly: str
) -> None:
    ann, bob, cy = (f"{name}@{singly}" for name in ("ann", "bob", "cy"))
    peer.script = one_by_one
    assert retried(relay, (ann, bob, cy)) == [
        (TAKEN, [ann, bob, cy]),
        ((550, b"5.1.1 No such user"), [bob]),
    ]
    assert sorted(posts(peer)) == ["ann", "bob", "bob", "cy"]


def test_each_refusal_has_its_own_words_and_who_has_to_wait_waits(
    relay: InstalledRelay, peer: ScriptedPeer, singly: str
) -> None:
    names = ("ann", "bob", "dan", "eve")
    ann, bob, dan, eve = (f"{name}@{singly}" for name in names)
    peer.script = one_by_one
    assert retried(relay, (ann, bob, dan, eve)) == [
        (TAKEN, [ann, bob, dan, eve]),
        ((550, b"5.1.1 No such user"), [bob]),
        ((552, b"5.2.2 Mailbox full"), [dan]),
        ((451, b"4.3.0 Later"), [eve]),
    ]
    assert posts(peer).count("ann") == 1


@pytest.mark.parametrize("names", list(itertools.permutations(("ann", "bob", "eve"))))
def test_the_order_does_not_matter(
    relay: InstalledRelay, peer: ScriptedPeer, singly: str, names: tuple[str, ...]
) -> None:
    peer.script = one_by_one
    found = retried(relay, tuple(f"{name}@{singly}" for name in names))
    assert sorted(code for (code, _), _ in found) == [250, 451, 550]
    assert posts(peer).count("ann") == 1


def test_a_failure_after_some_have_it_is_theirs_who_have_not(
    relay: InstalledRelay, peer: ScriptedPeer, singly: str
) -> None:
    peer.script = lambda seen: accept_all(seen) if len(peer.seen) == 1 else answer(502)(seen)
    ann, bob, cy = (f"{name}@{singly}" for name in ("ann", "bob", "cy"))
    (first, second) = retried(relay, (ann, bob, cy))
    assert first == (TAKEN, [ann, bob, cy])
    assert (second[0][0], second[1]) == (451, [bob, cy])
    assert posts(peer).count("ann") == 1


def test_a_recipient_that_https_can_not_name_holds_up_no_other(
    relay: InstalledRelay, peer: ScriptedPeer, domain: str
) -> None:
    odd, ann = f'"odd one"@{domain}', f"ann@{domain}"
    (first, second) = retried(relay, (odd, ann))
    assert first == (TAKEN, [odd, ann])
    assert (second[0][0], second[1]) == (451, [odd])
    assert posts(peer) == ["ann"]


def test_each_recipients_own_answer_is_heard_of_a_peer_that_gives_it(
    relay: InstalledRelay, peer: ScriptedPeer, domain: str
) -> None:
    ann, bob = f"ann@{domain}", f"bob@{domain}"
    rows = {ann: row(ann, "250 2.0.0 OK"), bob: row(bob, "550 5.1.1 No such user")}

    def script(seen: SeenPost) -> tuple[int, dict[str, str], bytes]:
        told = [rows[one] for one in seen.values("X-Mail-To")]
        return 200, {"Content-Type": "application/json"}, json.dumps({"recipients": told}).encode()

    peer.script = script
    assert retried(relay, (ann, bob)) == [
        (TAKEN, [ann, bob]),
        ((550, b"5.1.1 No such user"), [bob]),
    ]


def test_what_is_the_same_for_all_is_said_at_once(
    relay: InstalledRelay, peer: ScriptedPeer, domain: str
) -> None:
    ann, bob = f"ann@{domain}", f"bob@{domain}"
    for body, told in (
        (b"550 5.1.1 No such user", (550, b"5.1.1 No such user")),
        (b"451 4.3.0 Later", (451, b"4.3.0 Later")),
    ):
        peer.script = answer(400, body)
        assert https_only(relay, ann, bob) == told
    assert relay.sink.taken == []


def test_where_postfix_does_not_take_it_back_all_is_tried_again(
    relay: InstalledRelay, peer: ScriptedPeer, singly: str
) -> None:
    peer.script = one_by_one
    relay.sink.refuse[f"bob@{singly}"] = "452 4.3.1 Insufficient system storage"
    assert https_only(relay, f"ann@{singly}", f"bob@{singly}")[0] == 451
