"""`chatmailctl trace` on real relays: a message's path by HTTPS, by SMTP, and of refused mail."""

from __future__ import annotations

import re
from typing import Any

from tests.chat import firewall, pgp, relay, signature, smtp
from tests.chat.carol import CAROL
from tests.chat.deadline import until
from tests.e2e.conftest import Login
from tests.lab import Lab
from tests.lab.host import LabHost


def ways(host: LabHost, named: str) -> list[dict[str, Any]]:
    """What `trace` finds; nothing yet is no error."""
    host.sync_journal()
    _, found = relay.asked(host, "trace", named)
    return list(found["messages"])


def settled(host: LabHost, named: str) -> dict[str, Any]:
    """The way of one message, once Postfix has done with it, under each queue ID that it had."""

    def over() -> dict[str, Any] | None:
        found = ways(host, named)
        return (
            found[0]
            if len(found) == 1 and kinds(found[0]).count("left") == len(found[0]["queue_ids"])
            else None
        )

    return until("it has left the queue", over, 60)


def kinds(way: dict[str, Any]) -> list[str]:
    return [step["kind"] for step in way["steps"]]


def test_by_https_both_relays_tell_the_whole_way_and_the_peers_queue_id(
    a: LabHost, b: LabHost, writer: Login, reader: Login
) -> None:
    relay.forget_endpoints(a)
    mid = smtp.send(a.ip, writer, reader[0])
    way = settled(a, mid)
    assert {"door", "verdict", "queue", "road", "delivery", "left"} <= set(kinds(way))
    (recipient,) = way["recipients"]
    assert (recipient["address"], recipient["state"], recipient["road"]) == (reader[0], "delivered", "https")
    # Our own line has the queue ID that Postfix told the relay.
    (road,) = [step for step in way["steps"] if step["kind"] == "road"]
    assert (road["queue_id"], road["status"]) == (way["queue_ids"][0], "https")
    # What the operator of _b.lab is asked for is found there.
    theirs = settled(b, recipient["peer_queue_id"])
    assert theirs["message_id"] == mid.strip("<>")
    assert theirs["recipients"][0]["road"] == "mailbox"
    assert any("HTTPS (/mxdeliv)" in step["text"] for step in theirs["steps"] if step["kind"] == "door")
    assert any(step["text"].startswith("gunicorn: event=received") for step in theirs["steps"])


def test_by_smtp_it_is_one_way_with_both_queue_ids(a: LabHost, mta: LabHost, writer: Login) -> None:
    mid = smtp.send(a.ip, writer, CAROL)
    until("it is delivered", lambda: not relay.queued(a, CAROL), 60)
    way = settled(a, mid)
    assert len(way["queue_ids"]) == 2
    (recipient,) = way["recipients"]
    assert (recipient["state"], recipient["road"]) == ("delivered", "smtp")
    assert [step["status"] for step in way["steps"] if step["kind"] == "road"][-1] == "smtp"
    assert way["advice"][0].startswith("Ask the operator of mta.lab for ")


def test_what_waits_says_why_and_what_to_do(a: LabHost, mta: LabHost, writer: Login) -> None:
    with firewall.closed(mta, 25, "refuse"):
        mid = smtp.send(a.ip, writer, CAROL)
        until(
            "SMTP was tried",
            lambda: any(
                one["recipients"] and one["recipients"][0]["state"] == "waiting" for one in ways(a, mid)
            ),
            90,
        )
        said = relay.operate(a, "trace", mid)
        assert re.search(r"^Recipient +carol@mta\.lab: waiting$", said, re.MULTILINE)
        assert "Waits now" in said
        assert "`chatmailctl queue flush mta.lab` tries it now." in said
    relay.operate(a, "queue", "flush", "mta.lab")
    until("it is delivered", lambda: not relay.queued(a, CAROL), 60)


def test_what_is_refused_names_the_rule(lab: Lab, b: LabHost, reader: Login) -> None:
    sender = f"x{pgp.message_id().strip('<>').partition('@')[0][:8]}@mta.lab"
    clear = signature.sign(pgp.plain(sender, reader[0], sender), "mta.lab", lab.paths)
    assert smtp.deliver(b.ip, sender, [reader[0]], clear).code == 523
    (way,) = ways(b, sender)
    assert (way["recipients"][0]["state"], way["outcome"]) == ("refused", "refused")
    assert [step["reason"] for step in way["steps"] if step["kind"] == "verdict"] == ["not-encrypted"]
    assert smtp.deliver(b.ip, sender, [f"nobody-at-all@{b.domain}"], clear).code == 550
    assert [way["outcome"] for way in ways(b, sender)] == ["refused", "refused"]


def test_a_local_user_cannot_write_a_step_into_it(b: LabHost, reader: Login) -> None:
    relay.log(
        b, "nobody", "postfix/qmgr", "4zzzzzzzzzzzzz: from=<forged@b.lab>, size=1, nrcpt=1 (queue active)"
    )
    assert ways(b, "4zzzzzzzzzzzzz") == []
    assert "203.0.113" not in relay.operate(b, "trace", reader[0], "--all")
