"""The delivered message in the recipient's mailbox, and the delay until an idling client learns of it."""

from __future__ import annotations

import email
import email.policy
import time
from functools import partial

import pytest

from tests.chat import hops, smtp
from tests.chat.deadline import deadline, until
from tests.chat.imap import ImapMailbox
from tests.chat.person import fresh_address, fresh_password
from tests.e2e.conftest import Login
from tests.lab.host import LabHost

# What says too much about the sender, and what has done its work at delivery.
TELLTALES = ("Received", "X-Originating-IP", "User-Agent", "X-Mailer", "X-Letter")
DONE_WITH = ("DKIM-Signature", "Authentication-Results")


def test_header_fields_that_tell_too_much_are_gone(
    a: LabHost, b: LabHost, writer: Login, reader: Login
) -> None:
    mid = smtp.send(a.ip, writer, reader[0])
    with ImapMailbox(b.ip, *reader) as mailbox:
        raw = until("the message arrives", lambda: mailbox.find(mid), 20)
    message = email.message_from_bytes(raw, policy=email.policy.default)
    assert [name for name in (*TELLTALES, *DONE_WITH) if name in message] == []
    assert message["Subject"] == "[...]"
    assert message["From"].addresses[0].addr_spec == writer[0]
    assert message.get_content_type() == "multipart/encrypted"


@pytest.mark.parametrize("after", [0.0, 0.02, 0.04, 0.3, 0.7, 0.9, 2.0])
def test_idling_client_is_told_however_long_it_has_idled(
    a: LabHost, b: LabHost, writer: Login, after: float
) -> None:
    # Nobody else's mail is on its way there.
    reader = fresh_address(b.domain), fresh_password()
    with ImapMailbox(b.ip, *reader) as mailbox:
        mailbox.begin_idle()
        assert mailbox.stays_quiet(after)
        began = time.time()
        mid = smtp.send(a.ip, writer, reader[0])
        # Who is not told now is told in half an hour.
        with deadline("the client is told", 30):
            told = mailbox.wait_exists()
        mailbox.end_idle()
        assert mailbox.find(mid)

    at = until("Dovecot logs the delivery", partial(hops.saved, b, mid, began), 10)
    print(f"IDLE for {after:g} s: told {(told - at) * 1000:.1f} ms after the message was saved")
