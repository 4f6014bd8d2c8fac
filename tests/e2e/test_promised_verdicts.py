"""Rows of the verdict table (docs/gate.md, 3) at a real relay: submission, port 25, `/mxdeliv`.

What comes in is validly signed by its author's domain, so that what refuses it is the gate.
"""

from __future__ import annotations

import functools
import re
from typing import Any

import pytest

from tests import messages
from tests.chat import pgp, signature, smtp
from tests.chat.deadline import until
from tests.chat.imap import ImapMailbox
from tests.chat.person import fresh_address, fresh_password
from tests.e2e.conftest import Login
from tests.e2e.doors import Door
from tests.lab import Lab
from tests.lab.host import LabHost
from tests.rows import AUTHOR, CLEARTEXT, PASS, ROWS, VerdictRow

PEER = "peer.lab"
REFUSED = "523 5.7.1 Encryption Needed: Invalid Unencrypted Mail"

each_row = pytest.mark.parametrize("row", ROWS, ids=str)


@functools.cache
def _octets(row: VerdictRow) -> bytes:
    return row.build()


def _written(row: VerdictRow, replaced: dict[str, str]) -> tuple[str, bytes]:
    """The row's message with names of the lab in place of its own, and its new Message-ID."""
    head, end, body = _octets(row).partition(b"\r\n\r\n")
    mid = pgp.message_id()
    (old,) = re.findall(rb"(?im)^Message-ID: *<([^>]+)>", head)
    for placeholder, real in ({old.decode(): mid} | replaced).items():
        head = head.replace(placeholder.encode(), real.encode())
    return mid, head + end + body


def _submit(row: VerdictRow, submit: Any, host: LabHost, login: Login, recipient: str, code: int) -> str:
    """Submit the row's message, see that the answer is the one promised; its Message-ID."""
    mid, message = _written(row, {messages.ALICE: login[0]})
    reply = submit(host.ip, login, [recipient], message)
    if code == PASS:
        assert (reply.stage, reply.code, reply.text[:5]) == ("DATA", 250, "2.0.0")
    else:
        refused = {CLEARTEXT: REFUSED, AUTHOR: f"500 5.7.1 Invalid FROM <{row.author}> for <{login[0]}>"}
        assert (reply.stage, reply.line) == ("DATA", refused[code])
    return mid


def _arrives(host: LabHost, login: Login, mid: str) -> None:
    with ImapMailbox(host.ip, *login) as mailbox:
        until("the message arrives", lambda: mailbox.find(mid), 30)


@each_row
def test_submitted_on_465_to_a_peer(row: VerdictRow, a: LabHost, b: LabHost, reader: Login) -> None:
    login = fresh_address(a.domain), fresh_password()
    mid = _submit(row, smtp.submit, a, login, reader[0], row.to_bob)
    if row.to_bob == PASS:
        _arrives(b, reader, mid)


@each_row
def test_submitted_on_587_to_oneself(row: VerdictRow, a: LabHost) -> None:
    login = fresh_address(a.domain), fresh_password()
    mid = _submit(row, smtp.submit_starttls, a, login, login[0], row.to_self)
    if row.to_self == PASS:
        _arrives(a, login, mid)


@each_row
def test_from_outside(row: VerdictRow, door: Door, lab: Lab, b: LabHost, reader: Login) -> None:
    mid, message = _written(row, {"a.example": PEER, "b.example": PEER})
    sender = row.peer_sender.replace("a.example", PEER)
    said = door(b, sender, [reader[0]], signature.sign(message, PEER, lab.paths))
    if row.incoming == PASS:
        assert said.startswith("250 2.0.0 ")
        _arrives(b, reader, mid)
    else:
        assert said == REFUSED
