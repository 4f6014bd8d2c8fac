"""Special-purpose addresses of a domain are ignored by HTTPS and SMTP, and the mail arrives by its others.

`mixed.lab` is at 127.0.0.1 and other places inside, too (lab/zone.py); there is nothing but this host's own
Postfix at the first, and nothing at all at the others.
"""

from __future__ import annotations

import time

import pytest

from tests.chat import capture, journal, smtp
from tests.chat.deadline import until
from tests.chat.person import fresh_address
from tests.chat.queue_log import queue_files
from tests.e2e.conftest import Login
from tests.lab import Lab, ca
from tests.lab.host import LabHost

PEER = "mixed.lab"
SECONDS = 40.0

pytestmark = pytest.mark.usefixtures("_https_afresh")


def test_by_smtp_only_the_public_one_is_connected_to(lab: Lab, a: LabHost, writer: Login) -> None:
    client, began = lab.host("client").host, time.time()
    with capture.smtp_peer(client, *ca.issue(lab.paths.ca, [PEER])) as peer:
        # smtp(8) takes a domain's addresses in random order.
        mids = [smtp.send(a.ip, writer, fresh_address(PEER)) for _ in range(6)]
        for mid in mids:
            peer.next(SECONDS, mid)

    def ways() -> list[str] | None:
        files = [one for one in queue_files(journal.read(a, began - 0.5)) if one.message_id in mids]
        by_smtp = [one for file in files for one in file.deliveries if one.agent == "smtp-mx/smtp"]
        found = [one.relay for one in by_smtp if one.status == "sent"]
        return found if len(found) >= len(mids) else None

    assert set(until("the journal tells of them", ways, 10)) == {f"{PEER}[{client.ip}]:25"}


def test_by_https_too(lab: Lab, a: LabHost, writer: Login) -> None:
    with capture.https_peer(lab.host("client").host, *ca.issue(lab.paths.ca, [PEER])) as peer:
        peer.next(SECONDS, smtp.send(a.ip, writer, fresh_address(PEER)))
