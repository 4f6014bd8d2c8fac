"""When SMTP fails after HTTPS did, each retry tries SMTP, and later HTTPS again.

By smtp(8) and its fallback relay, which is ours in its HTTPS-only mode (docs/wire.md, 3.5).
"""

from __future__ import annotations

import time

from tests.chat import capture, firewall, journal, pgp, relay, signature, smtp
from tests.chat.deadline import until
from tests.chat.imap import ImapMailbox
from tests.chat.person import fresh_address
from tests.chat.queue_log import LoggedDelivery, queue_files
from tests.e2e.conftest import Login
from tests.e2e.test_octets_at_the_peer import AUTOCRYPT, DISGUISED, INSIDE, TELLTALES, names
from tests.lab import Lab, ca
from tests.lab.host import LabHost

PEER = "peer.lab"
SECONDS = 40.0
HTTPS_ONLY = "127.0.0.1[127.0.0.1]:10027"


def test_stuck_mail_leaves_by_https_without_a_trace_of_its_way(lab: Lab, a: LabHost, writer: Login) -> None:
    began, mid, recipient = time.time(), pgp.message_id(), fresh_address(PEER)
    relay.forget_endpoints(a)

    def by_smtp() -> list[LoggedDelivery]:
        files = [file for file in queue_files(journal.read(a, began - 0.5)) if file.message_id == mid]
        return [one for file in files for one in file.deliveries if one.agent == "smtp-mx/smtp"]

    def is_sent() -> bool:
        # Again: what is being tried already may have found nobody, and would wait for minutes.
        a.run("postqueue -f")
        return [one.status for one in by_smtp()][-1:] == ["sent"]

    try:
        message = AUTOCRYPT + DISGUISED + pgp.encrypted(writer[0], recipient, mid)
        # Nobody listens there, on either port.
        assert smtp.submit(a.ip, writer, [recipient], message).code == 250
        until("both roads are closed", lambda: relay.is_deferred(a, recipient), SECONDS, every=0.3)
        with capture.https_peer(lab.host("client").host, *ca.issue(lab.paths.ca, [PEER])) as peer:
            until("it is sent", is_sent, SECONDS, every=1.0)
            crossed = peer.next(SECONDS, mid)
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


def test_one_of_a_group_is_refused_while_only_https_is_left(
    a: LabHost, b: LabHost, writer: Login, reader: Login
) -> None:
    """The other has the message once, however often Postfix tries, and the sender hears of the one."""
    mid, ghost = pgp.message_id(), fresh_address(b.domain)
    relay.forget_endpoints(a)

    def settled() -> bool:
        a.run("postqueue -f")
        return not relay.queued(a, ghost) and not relay.queued(a, reader[0])

    with firewall.closed(b, 25, "refuse"):
        with firewall.closed(b, 443, "refuse"):
            message = AUTOCRYPT + DISGUISED + pgp.encrypted(writer[0], reader[0], mid)
            assert smtp.submit(a.ip, writer, [reader[0], ghost], message).code == 250
            until("both roads are closed", lambda: relay.is_deferred(a, ghost), SECONDS, every=0.3)
        until("Postfix is done with both", settled, SECONDS, every=1.0)
    relay.forget_endpoints(a)
    with ImapMailbox(b.ip, *reader) as mailbox:
        assert len([one for one in mailbox.messages() if mid.encode() in one]) == 1
    with ImapMailbox(a.ip, *writer) as mailbox:

        def bounce() -> bytes | None:
            found = [one for one in mailbox.messages() if mid.encode() in one]
            return next((one for one in found if b"multipart/report" in one), None)

        report = until("the bounce", bounce, SECONDS, every=0.5)
    assert f"Final-Recipient: rfc822; {ghost}".encode() in report
    assert b"Status: 5.1.1" in report
    assert reader[0].encode() not in report.partition(b"Content-Type: text/rfc822-headers")[0]
