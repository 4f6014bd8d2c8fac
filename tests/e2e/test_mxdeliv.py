"""`POST /mxdeliv` by hand: the status and the first line of each answer (docs/wire.md, 2).

What the gate and DKIM refuse is in `test_rows` and `test_origin`.
"""

from __future__ import annotations

import time
from functools import partial

import pytest

from tests.bounces.causes import full_mailbox
from tests.chat import capture, carol, journal, mxdeliv, pgp, relay, signature, smtp
from tests.chat.carol import CAROL
from tests.chat.deadline import until
from tests.chat.imap import ImapMailbox
from tests.chat.person import Person, fresh_address
from tests.chat.queue_log import QueueFile, queue_files
from tests.e2e.conftest import Login
from tests.e2e.test_message_size import LARGEST_OF_PEERS
from tests.lab import Lab
from tests.lab.host import LabHost
from tests.lab.plan import BY_NAME

SENDER = "someone12345@peer.lab"


@pytest.fixture(scope="module")
def signed(a: LabHost, mta: LabHost, writer: Login) -> tuple[str, bytes]:
    """A message that _a.lab signed and sent to mta.lab: its Message-ID, and its octets as they lie there."""
    mid = smtp.send(a.ip, writer, CAROL)
    return mid, until("it arrives at mta.lab", partial(carol.find, mta, mid), 30)


def test_signature_verifies(mta: LabHost, signed: tuple[str, bytes]) -> None:
    # OpenDKIM's own verifier, on a host that has nothing to do with the signer's.
    verified = mta.run("opendkim-testmsg", input=signed[1].decode(), check=False)
    assert (verified.returncode, verified.stderr) == (0, "")


def test_signed_message_is_on_disk_when_200_is_said(
    b: LabHost, writer: Login, reader: Login, signed: tuple[str, bytes]
) -> None:
    mid, message = signed
    answer = mxdeliv.post(b, writer[0], [reader[0]], message)
    assert answer.status == 200
    assert answer.line.startswith("250 ")
    with ImapMailbox(b.ip, *reader) as mailbox:
        until("the message arrives", lambda: mailbox.find(mid), 10)


def test_unknown_user(b: LabHost) -> None:
    nobody = fresh_address(b.domain)
    answer = mxdeliv.post(b, SENDER, [nobody], pgp.encrypted(SENDER, nobody, pgp.message_id()))
    assert answer.status == 422
    assert answer.line.startswith("550 5.1.1 ")


def test_refusals_that_differ_are_told_to_those_who_ask_for_json(b: LabHost) -> None:
    nobody = fresh_address(b.domain)
    message = pgp.encrypted(SENDER, nobody, pgp.message_id())
    answer = mxdeliv.post(b, SENDER, [nobody, CAROL], message, Accept="application/json, text/plain")
    assert answer.status == 207
    told = {one["address"]: (one["code"], one["status"]) for one in answer.json["recipients"]}
    assert told == {nobody: (550, "5.1.1"), CAROL: (554, "5.7.1")}


@pytest.mark.parametrize("asks", [False, True])
def test_mixed_fortunes_are_a_bounce_or_told_to_those_who_ask(
    lab: Lab, b: LabHost, reader: Login, asks: bool
) -> None:
    nobody, mid = fresh_address(b.domain), pgp.message_id()
    message = signature.sign(pgp.encrypted(SENDER, reader[0], mid), "peer.lab", lab.paths)
    began = time.time()
    accept = {"Accept": "application/json, text/plain" if asks else "*/*"}
    # The bounce is fetched, or it would be in the way of later tests.
    with capture.smtp_peer(lab.host("client").host) as peer:
        answer = mxdeliv.post(b, SENDER, [reader[0], nobody], message, **accept)
        assert answer.status == 200
        with ImapMailbox(b.ip, *reader) as mailbox:
            until("the message arrives", lambda: mailbox.find(mid), 10)

        def done() -> QueueFile | None:
            files = queue_files(journal.read(b, began - 0.5))
            return next((file for file in files if file.message_id == mid and file.removed), None)

        file = until("Postfix is done with it", done, 10)
        told_of = {one.recipient: one.status for one in file.deliveries}
        if asks:
            told = {one["address"]: (one["code"], one["status"]) for one in answer.json["recipients"]}
            assert told == {reader[0]: (250, "2.0.0"), nobody: (550, "5.1.1")}
            assert told_of == {reader[0]: "sent"}
        else:
            assert answer.line.startswith("250 ")
            assert told_of == {reader[0]: "sent", nobody: "bounced"}
            assert signature.verified(peer.next(30, mid).message) == [b.domain]


@pytest.mark.parametrize("asks", [False, True])
def test_full_mailbox(lab: Lab, b: LabHost, asks: bool) -> None:
    message = pgp.encrypted(SENDER, SENDER, pgp.message_id())
    accept = {"Accept": "application/json" if asks else "*/*"}
    with full_mailbox("b")(lab) as address:
        answer = mxdeliv.post(b, SENDER, [address], message, **accept)
    assert (answer.status, answer.line[:10]) == (507, "552 5.2.2 ")


@pytest.mark.parametrize(
    ("units", "besides"),
    [
        # One to whom somebody is connected outlives the others, and goes on taking mail.
        # In Debian 12 postfix@- is what runs; who stops postfix does not wait for it.
        (f"postfix {BY_NAME['b'].postfix}", "kill -KILL $(pidof smtpd)"),
        ("chatmail-milter.socket chatmail-milter.service", "true"),
        ("opendkim", "true"),
        ("dovecot.socket dovecot", "true"),
    ],
)
def test_whatever_is_away_behind_it_means_later(
    lab: Lab, b: LabHost, reader: Login, units: str, besides: str
) -> None:
    mid = pgp.message_id()
    message = signature.sign(pgp.encrypted(SENDER, reader[0], mid), "peer.lab", lab.paths)
    with relay.stopped(b, units):
        b.run(besides, check=False)
        answer = mxdeliv.post(b, SENDER, [reader[0]], message)
        assert (answer.status, answer.line[:1]) == (503, "4")
        assert int(answer.headers["Retry-After"]) > 0
    # And not taken all the same: once is once.
    until("it is taken", lambda: mxdeliv.post(b, SENDER, [reader[0]], message).status == 200, 30)
    with ImapMailbox(b.ip, *reader) as mailbox:
        until("it arrives", lambda: mailbox.find(mid), 30)
        assert sum(mid.encode() in one for one in mailbox.messages()) == 1


def test_more_recipients_than_a_message_may_have(lab: Lab, b: LabHost, reader: Login) -> None:
    surplus = [fresh_address(b.domain) for _ in range(3)]
    recipients = [reader[0], *(f"nobody{number:08}@{b.domain}" for number in range(999)), *surplus]
    message = signature.sign(pgp.encrypted(SENDER, reader[0], pgp.message_id()), "peer.lab", lab.paths)
    answer = mxdeliv.post(b, SENDER, recipients, message)
    assert (answer.status, answer.line[:10]) == (503, "452 4.5.3 ")
    answer = mxdeliv.post(b, SENDER, recipients, message, Accept="application/json")
    told = {one["address"]: one["code"] for one in answer.json["recipients"]}
    assert (answer.status, told[reader[0]], [told[one] for one in surplus]) == (200, 250, [452] * 3)
    assert sum(code == 550 for code in told.values()) == 999


def test_a_peer_may_take_by_https_what_it_may_by_smtp(b: LabHost) -> None:
    # One variable each: what nginx was told is what Postfix was.
    nginx = b.run("nginx -T 2>&-").stdout
    postfix = b.run("postconf -xh smtpd_client_connection_count_limit smtpd_client_message_rate_limit").stdout
    connections, messages = postfix.split()
    assert f"limit_conn network_connections {connections};" in nginx
    assert f"rate={messages}r/m;" in nginx
    assert f"limit_req zone=network_requests burst={messages} nodelay;" in nginx


def test_no_recipient(b: LabHost) -> None:
    assert mxdeliv.post(b, SENDER, [], pgp.encrypted(SENDER, SENDER, pgp.message_id())).status == 400


def test_malformed_recipient(b: LabHost) -> None:
    assert mxdeliv.post(b, SENDER, ["not an address"], b"\r\n").status == 400


def test_get(b: LabHost) -> None:
    answer = mxdeliv.ask(b, "GET", {})
    assert answer.status == 405
    assert answer.headers["Allow"] == "POST"


def test_sender_of_our_own_domain(b: LabHost, reader: Login, bob: Person) -> None:
    message = pgp.encrypted(bob.address, reader[0], pgp.message_id())
    answer = mxdeliv.post(b, bob.address, [reader[0]], message)
    assert answer.status in (400, 403)
    assert answer.line.startswith("553 5.7.1 ")


def test_it_is_no_relay(b: LabHost) -> None:
    answer = mxdeliv.post(b, SENDER, [CAROL], pgp.encrypted(SENDER, CAROL, pgp.message_id()))
    assert answer.status in (400, 403)
    assert answer.line.startswith("55")


def test_larger_than_anyone_may_send(b: LabHost, reader: Login) -> None:
    assert mxdeliv.post(b, SENDER, [reader[0]], b"x: " + b"y" * LARGEST_OF_PEERS).status == 413
