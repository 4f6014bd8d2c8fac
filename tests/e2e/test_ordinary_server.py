"""Mail to and from a server with SMTP and DKIM and without chatmail."""

from __future__ import annotations

import time
from functools import partial

from tests.chat import carol, journal, pgp, signature, smtp
from tests.chat.carol import CAROL
from tests.chat.deadline import until
from tests.chat.imap import ImapMailbox
from tests.chat.queue_log import queue_files
from tests.e2e.conftest import Login
from tests.lab.host import LabHost

SECONDS = 30.0


def test_signed_message_of_an_ordinary_server_arrives(a: LabHost, mta: LabHost, writer: Login) -> None:
    mid = pgp.message_id(mta.domain)
    assert smtp.deliver(mta.ip, CAROL, [writer[0]], pgp.encrypted(CAROL, writer[0], mid)).code == 250
    with ImapMailbox(a.ip, *writer) as mailbox:
        arrived = until("Carol's message arrives", lambda: mailbox.find(mid), SECONDS)
    assert arrived.startswith(f"Return-Path: <{CAROL}>\r\n".encode())


def test_answer_to_it_goes_back_by_smtp(a: LabHost, mta: LabHost, writer: Login) -> None:
    began = time.time()
    mid = smtp.send(a.ip, writer, CAROL)
    answer = until("the answer arrives", partial(carol.find, mta, mid), SECONDS)
    assert signature.verified(answer) == [a.domain]

    def sent() -> list[str]:
        files = [one for one in queue_files(journal.read(a, began - 0.5)) if one.message_id == mid]
        by_smtp = [one for file in files for one in file.deliveries if one.agent == "smtp-mx/smtp"]
        # A busy server may put it off before.
        return [one.relay for one in by_smtp if one.status == "sent"]

    (relay,) = until("the journal tells of the delivery", sent, 10)
    assert relay == f"{mta.domain}[{mta.ip}]:25"
