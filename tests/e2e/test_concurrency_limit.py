"""Above its limit of concurrent deliveries to a domain, the relay replies `421`; Postfix keeps the mail.

The relay is told that two are enough, and the peer answers nobody until it is let go.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from threading import Event

import pytest

from tests.chat import capture, journal, relay, smtp
from tests.chat.deadline import until
from tests.chat.imap import ImapMailbox
from tests.e2e.conftest import Login
from tests.lab import Lab, ca
from tests.lab.host import LabHost

SECONDS = 40.0
PEER = "peer.lab"
CONFIG = "/etc/chatmail/chatmail.toml"
BUSY = "(421 4.4.5 Too many deliveries to this domain under way, try again later)"


@contextmanager
def _two_places(a: LabHost) -> Iterator[None]:
    a.run(f"cp -p {CONFIG} {CONFIG}.before && sed -i '/^.relay.$/a workers_per_domain = 2' {CONFIG}")
    try:
        a.run("systemctl restart mxdeliv-relay.service")
        yield
    finally:
        a.run(f"mv {CONFIG}.before {CONFIG} && systemctl restart mxdeliv-relay.service")


@contextmanager
def _set_at_the_end(go: Event) -> Iterator[None]:
    try:
        yield
    finally:
        go.set()


@pytest.mark.usefixtures("_https_afresh")
def test_the_mail_waits_in_the_queue_and_no_other_domain_waits_for_it(
    lab: Lab, a: LabHost, b: LabHost, writer: Login, reader: Login
) -> None:
    began, go = time.time(), Event()
    dave = f"dave{secrets.token_hex(3)}"
    daves = [f"{dave}{number}@{PEER}" for number in range(5)]
    certificate = ca.issue(lab.paths.ca, [PEER])

    def put_off() -> set[str]:
        texts = [one.text for one in journal.read(a, began) if one.who == "postfix/mxdeliv/lmtp"]
        return {one for one in daves for text in texts if f"to=<{one}>" in text and BUSY in text}

    def states(of: set[str]) -> set[str]:
        # Each minute or two they are tried again, for a moment.
        return {row["queue"] for one in of for row in relay.queued(a, one)}

    def all_are_tried() -> bool:
        relay.operate(a, "queue", "flush", PEER)
        return not any(relay.queued(a, one) for one in daves)

    with (
        _two_places(a),
        _set_at_the_end(go),
        capture.https_peer(lab.host("client").host, *certificate, hold=go) as peer,
        ImapMailbox(b.ip, *reader) as mailbox,
    ):
        sent = [smtp.send(a.ip, writer, one) for one in daves[:4]]
        until("two of four are put off", lambda: len(put_off()) == 2, SECONDS, every=0.3)
        # A group on both relays, and a message to the other alone.
        sent += [smtp.send(a.ip, writer, daves[4], reader[0]), smtp.send(a.ip, writer, reader[0])]
        for mid in sent[4:]:
            until("the other domain has its mail", partial(mailbox.find, mid), SECONDS)
        until("three are put off", lambda: len(put_off()) == 3, SECONDS, every=0.3)
        assert peer.nothing(dave), "the others are still under way"
        until("what was put off waits", lambda: states(put_off()) == {"deferred"}, SECONDS, every=0.3)
        go.set()
        # Three at once are one too many again.
        until("the queue is empty", all_are_tried, SECONDS, every=0.3)
        came = [peer.next(SECONDS, dave).head.decode() for _ in daves]
        assert peer.nothing(dave)
        assert [sum(f"X-Mail-To: {one}\r\n" in head for head in came) for one in daves] == [1] * 5
        raw = mailbox.messages()
        assert [sum(f"<{mid}>".encode() in one for one in raw) for mid in sent[4:]] == [1, 1]
