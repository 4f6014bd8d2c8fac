"""Incoming mail must be signed by its author's domain, or come from the address literal that it names.

The answers are those of docs/dkim.md, the same at both doors.
"""

from __future__ import annotations

import re
import secrets
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.chat import firewall, journal, pgp, relay, signature, smtp
from tests.chat.deadline import until
from tests.chat.imap import ImapMailbox
from tests.e2e.conftest import Login
from tests.e2e.doors import Door
from tests.lab import Lab
from tests.lab.host import LabHost
from tests.lab.plan import BY_NAME, CONTROL_ADDRESS
from tests.lab.zone import BROKEN

PEER, OTHER = "peer.lab", "other.lab"
AUTHOR = f"someone12345@{PEER}"

NO_SIGNATURE = "554 5.7.1 No DKIM signature found"
NO_VALID_SIGNATURE = "554 5.7.1 No valid DKIM signature found"
NOT_NOW = "451 4.7.5 DKIM key lookup failed, try again later"
# A network's trouble lasts until resolvers ask again: seconds.
RECOVERY_SECONDS = 60.0
# So many peers write at once to a relay whose OpenDKIM has just begun.
PEERS_AT_ONCE, FROM_EACH = 20, 5

# What strangers may write to look as if the relay `_b.lab` had found a signature of peer.lab.
FORGED = {
    "plain": b"Authentication-Results: _b.lab; dkim=pass header.d=peer.lab",
    "small": b"authentication-results: _b.lab; dkim=pass header.d=peer.lab",
    "capitals": b"AUTHENTICATION-RESULTS: _B.LAB; DKIM=PASS HEADER.D=PEER.LAB",
    "no blank": b"Authentication-Results:_b.lab;dkim=pass header.d=peer.lab",
    "blank before the colon": b"Authentication-Results : _b.lab; dkim=pass header.d=peer.lab",
    "tab before the colon": b"Authentication-Results\t:\t_b.lab; dkim=pass header.d=peer.lab",
    "folded": b"Authentication-Results:\r\n _b.lab;\r\n\tdkim=pass\r\n header.d=peer.lab",
    "commented": b"Authentication-Results: (a) _b.lab (b) 1; dkim=pass (c) header.d=peer.lab",
    "quoted": b'Authentication-Results: "_b.lab"; dkim=pass header.d=peer.lab',
    "twice": b"Authentication-Results: _b.lab; dkim=pass header.d=peer.lab\r\n" * 2 + b"X-End: x",
    "NUL in its name": b"Authentication-\0Results: _b.lab; dkim=pass header.d=peer.lab",
    "after a lone LF": b"X-Begin: x\nAuthentication-Results: _b.lab; dkim=pass header.d=peer.lab",
    "after a lone CR": b"X-Begin: x\rAuthentication-Results: _b.lab; dkim=pass header.d=peer.lab",
}


def _message(reader: Login, author: str = AUTHOR) -> tuple[str, bytes]:
    mid = pgp.message_id()
    return mid, pgp.encrypted(author, reader[0], mid)


def _arrived(host: LabHost, login: Login, mid: str) -> bytes:
    with ImapMailbox(host.ip, *login) as mailbox:
        return until("the message arrives", lambda: mailbox.find(mid), 20)


def test_unsigned(door: Door, b: LabHost, reader: Login) -> None:
    assert door(b, AUTHOR, [reader[0]], _message(reader)[1]) == NO_SIGNATURE


def test_signed_by_the_authors_domain(door: Door, lab: Lab, b: LabHost, reader: Login) -> None:
    mid, message = _message(reader)
    assert door(b, AUTHOR, [reader[0]], signature.sign(message, PEER, lab.paths)).startswith("250 ")
    assert _arrived(b, reader, mid).startswith(f"Return-Path: <{AUTHOR}>\r\n".encode())


def test_signed_by_another_domain(door: Door, lab: Lab, b: LabHost, reader: Login) -> None:
    message = signature.sign(_message(reader)[1], OTHER, lab.paths)
    assert door(b, AUTHOR, [reader[0]], message) == NO_VALID_SIGNATURE


def test_signed_by_another_domain_too(door: Door, lab: Lab, b: LabHost, reader: Login) -> None:
    _, message = _message(reader)
    for domain in (PEER, OTHER):
        message = signature.sign(message, domain, lab.paths)
    assert door(b, AUTHOR, [reader[0]], message).startswith("250 ")


def test_altered_after_it_was_signed(door: Door, lab: Lab, b: LabHost, reader: Login) -> None:
    message = signature.sign(_message(reader)[1], PEER, lab.paths)
    altered = message.replace(b"Version: 1\r\n", b"Version: 1 \r\n")
    assert altered != message
    assert door(b, AUTHOR, [reader[0]], altered) == NO_VALID_SIGNATURE


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED)
def test_result_that_a_stranger_wrote_decides_nothing(
    door: Door, forged: bytes, lab: Lab, b: LabHost, reader: Login
) -> None:
    _, message = _message(reader)
    assert door(b, AUTHOR, [reader[0]], forged + b"\r\n" + message) == NO_SIGNATURE
    signed = signature.sign(message, OTHER, lab.paths)
    assert door(b, AUTHOR, [reader[0]], forged + b"\r\n" + signed) == NO_VALID_SIGNATURE


def test_what_servers_wrote_is_gone_at_delivery(door: Door, lab: Lab, b: LabHost, reader: Login) -> None:
    mid, message = _message(reader)
    bad = b"Authentication-Results: _b.lab; dkim=fail header.d=peer.lab\r\n"
    forged = b"".join(one + b"\r\n" for one in FORGED.values())
    assert door(b, AUTHOR, [reader[0]], bad + forged + signature.sign(message, PEER, lab.paths))[:3] == "250"
    header = _arrived(b, reader, mid).partition(b"\r\n\r\n")[0].lower()
    names = set(re.findall(rb"^([^\s:]+)\s*:", header, re.MULTILINE))
    assert b"from" in names
    assert names & {b"authentication-results", b"dkim-signature", b"received"} == set()


def test_envelope_sender_that_is_not_the_author_becomes_null(
    door: Door, lab: Lab, b: LabHost, reader: Login
) -> None:
    mid, message = _message(reader)
    said = door(b, f"victim123456@{OTHER}", [reader[0]], signature.sign(message, PEER, lab.paths))
    assert said.startswith("250 ")
    assert _arrived(b, reader, mid).startswith(b"Return-Path: <>\r\n")


def test_address_literal_of_the_peer_itself(door: Door, b: LabHost, reader: Login) -> None:
    author = f"someone12345@[{CONTROL_ADDRESS}]"
    mid, message = _message(reader, author)
    assert door(b, author, [reader[0]], message).startswith("250 ")
    assert _arrived(b, reader, mid)


def test_address_literal_of_another(door: Door, b: LabHost, reader: Login) -> None:
    author = f"someone12345@[{BY_NAME['client'].ip}]"
    said = door(b, author, [reader[0]], _message(reader, author)[1])
    assert said == "554 5.7.1 Sender's address literal is not your address"


def test_domain_whose_name_server_fails(door: Door, lab: Lab, b: LabHost, reader: Login) -> None:
    author = f"someone12345@{BROKEN}"
    message = signature.sign(_message(reader, author)[1], BROKEN, lab.paths)
    # The second time, its failure may be in somebody's memory; it is no missing key for that.
    for _ in range(2):
        assert door(b, author, [reader[0]], message) == NOT_NOW


def test_mail_that_came_while_dns_was_away_is_taken_when_it_comes_again(
    lab: Lab, b: LabHost, mta: LabHost, reader: Login
) -> None:
    mid, message = _message(reader)
    # A selector that no resolver has asked for.
    signed = signature.sign(message, PEER, lab.paths, selector=secrets.token_hex(4))
    began = time.time()

    def put_off() -> bool:
        return any(NOT_NOW in one.text for one in journal.read(mta, began - 0.5))

    with firewall.without_names(b):
        assert smtp.deliver(mta.ip, AUTHOR, [reader[0]], signed).code == 250
        until("mta.lab is told to come again", put_off, 30, every=0.3)
    with ImapMailbox(b.ip, *reader) as mailbox:
        until("it comes again and is taken", lambda: mailbox.find(mid), RECOVERY_SECONDS, every=0.3)
    until("it is done with", lambda: not relay.queued(b, reader[0]), 10)


def test_many_signed_messages_at_once_from_the_first_moment(lab: Lab, b: LabHost, reader: Login) -> None:
    # Selectors of their own, so that every one is a question of its own to DNS.
    signed = [
        signature.sign(_message(reader)[1], PEER, lab.paths, selector=secrets.token_hex(4))
        for _ in range(PEERS_AT_ONCE * FROM_EACH)
    ]
    b.run("systemctl restart opendkim")
    with ThreadPoolExecutor(PEERS_AT_ONCE) as peers:
        codes = list(peers.map(lambda one: smtp.deliver(b.ip, AUTHOR, [reader[0]], one).code, signed))
    assert codes == [250] * len(signed)
    assert b.run("systemctl show opendkim --property NRestarts --value").stdout.strip() == "0"
