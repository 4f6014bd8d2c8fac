"""Mail to and from a server with SMTP and DKIM and without chatmail."""

from __future__ import annotations

import time

from tests.chat import journal, pgp, signature, smtp
from tests.chat.deadline import until
from tests.chat.imap import ImapMailbox
from tests.chat.queue_log import queue_files
from tests.e2e.conftest import Login
from tests.lab.host import LabHost

CAROL = "carol@mta.lab"
SECONDS = 30.0


def test_signed_message_of_an_ordinary_server_arrives(a: LabHost, mta: LabHost, writer: Login) -> None:
    mid = pgp.message_id(mta.domain)
    assert smtp.deliver(mta.ip, CAROL, [writer[0]], pgp.encrypted(CAROL, writer[0], mid)).code == 250
    with ImapMailbox(a.ip, *writer) as mailbox:
        arrived = until("Carol's message arrives", lambda: mailbox.find(mid), SECONDS)
    assert arrived.startswith(f"Return-Path: <{CAROL}>\r\n".encode())


def test_answer_to_it_goes_back_by_smtp(a: LabHost, mta: LabHost, writer: Login) -> None:
    began, mid = time.time(), pgp.message_id()
    assert smtp.submit(a.ip, writer, [CAROL], pgp.encrypted(writer[0], CAROL, mid)).code == 250
    find = f"grep --files-with-matches --recursive '{mid}' /home/carol/Maildir/new"
    file = until("the answer arrives", lambda: mta.run(find, check=False).stdout.strip(), SECONDS)
    lies_there = mta.run(f"cat {file}").stdout
    assert signature.verified("\r\n".join([*lies_there.splitlines(), ""]).encode()) == [a.domain]

    def sent() -> list[str]:
        files = [one for one in queue_files(journal.read(a, began - 0.5)) if one.message_id == mid]
        return [one.relay for file in files for one in file.deliveries if one.agent == "smtp-mx/smtp"]

    (relay,) = until("the journal tells of the delivery", sent, 10)
    assert relay == f"{mta.domain}[{mta.ip}]:25"
