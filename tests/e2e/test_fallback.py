"""Mail that went back to SMTP and found that closed too: each retry tries SMTP, and then HTTPS again.

By smtp(8) and its fallback relay, which is ours in its HTTPS-only mode (wire.md, 3.6).
"""

from __future__ import annotations

import time

from tests.chat import capture, journal, pgp, relay, signature, smtp
from tests.chat.deadline import until
from tests.chat.person import fresh_address
from tests.chat.queue_log import Delivery, queue_files
from tests.e2e.conftest import Login
from tests.e2e.test_crossing import AUTOCRYPT, DISGUISED, INSIDE, TELLTALES, names
from tests.lab import Lab, ca
from tests.lab.host import LabHost

PEER = "peer.lab"
SECONDS = 40.0
HTTPS_ONLY = "127.0.0.1[127.0.0.1]:10027"


def test_stuck_mail_leaves_by_https_without_a_trace_of_its_way(lab: Lab, a: LabHost, writer: Login) -> None:
    began, mid, recipient = time.time(), pgp.message_id(), fresh_address(PEER)
    relay.forget_endpoints(a)

    def waits() -> bool:
        return any(row["queue"] == "deferred" for row in relay.queued(a, recipient))

    def by_smtp() -> list[Delivery]:
        files = [file for file in queue_files(journal.read(a, began - 0.5)) if file.message_id == mid]
        return [one for file in files for one in file.deliveries if one.agent == "smtp-mx/smtp"]

    try:
        message = AUTOCRYPT + DISGUISED + pgp.encrypted(writer[0], recipient, mid)
        # Nobody listens there, on either port.
        assert smtp.submit(a.ip, writer, [recipient], message).code == 250
        until("both roads are closed", waits, SECONDS, every=0.3)
        with capture.https_peer(lab.host("client").host, *ca.issue(lab.paths.ca, [PEER])) as peer:
            a.run("postqueue -f")
            crossed = peer.next(SECONDS, mid)
        until("it is sent", lambda: by_smtp()[-1].status == "sent", SECONDS)
    finally:
        relay.forget_endpoints(a)
        for row in relay.queued(a, recipient):
            a.run(["postsuper", "-d", row["queue_id"]])
    tries = by_smtp()
    assert {one.relay for one in tries} == {HTTPS_ONLY}
    assert [one.status for one in tries] == ["deferred"] * (len(tries) - 1) + ["sent"]
    assert [name for name in names(crossed.message) if name in TELLTALES] == []
    assert [word for word in INSIDE if word in crossed.head + crossed.message] == []
    assert signature.verified(crossed.message) == [a.domain]
