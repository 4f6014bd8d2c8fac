"""Mail to peers with IPv6 only, by HTTPS and by SMTP; to IPv6 literals; to internationalized domains.

The network is one of documentation, special-purpose, and allowed by name in the lab's inventory.
"""

from __future__ import annotations

import time

import pytest

from tests.chat import capture, journal, pgp, relay, smtp
from tests.chat.capture import CapturingPeer
from tests.chat.deadline import until
from tests.chat.imap import ImapMailbox
from tests.chat.queue_log import of_message, queue_files
from tests.e2e.conftest import Login
from tests.lab import Lab, ca
from tests.lab.host import LabHost

pytestmark = pytest.mark.usefixtures("_https_afresh")

SECONDS = 40.0
BY_MX = "_six.lab"  # whose MX has an AAAA and nothing else
BY_NAME = "_six.xn--bcher-kva.lab"  # has no MX
NAMES = {BY_MX: "_mx._six.lab", BY_NAME: BY_NAME}


def _head(peer: CapturingPeer, a: LabHost, writer: Login, recipient: str) -> str:
    """Send a message; with what head it comes to the peer."""
    return peer.next(SECONDS, smtp.send(a.ip, writer, recipient)).head.decode().lower()


def _recipients(lab: Lab) -> dict[str, str]:
    """By what is asked for: a host, as HTTP has it, and the domain."""
    literal = lab.host("client").host.ip6
    return {NAMES[BY_MX]: BY_MX, NAMES[BY_NAME]: BY_NAME, f"[{literal}]": f"[IPv6:{literal}]"}


@pytest.mark.parametrize("which", range(3), ids=["MX", "name", "literal"])
def test_by_https(which: int, lab: Lab, a: LabHost, writer: Login) -> None:
    host, domain = list(_recipients(lab).items())[which]
    client, certificate = lab.host("client").host, ca.self_signed(lab.paths.ca, BY_MX)
    with capture.https_peer(client, *certificate, address=client.ip6) as peer:
        head = _head(peer, a, writer, f"dave12345@{domain}")
    assert f"\r\nhost: {host}\r\n" in head
    assert f"\r\nx-mail-to: dave12345@{domain}\r\n".lower() in head


@pytest.mark.parametrize("which", range(3), ids=["MX", "name", "literal"])
def test_by_smtp(which: int, lab: Lab, a: LabHost, writer: Login) -> None:
    """Nobody listens on 443 there."""
    _, domain = list(_recipients(lab).items())[which]
    # Nor is a connection kept from before.
    a.run("systemctl restart mxdeliv-relay.service")
    client, certificate = lab.host("client").host, ca.self_signed(lab.paths.ca, BY_MX)
    with capture.smtp_peer(client, *certificate, address=client.ip6) as peer:
        assert f"rcpt to:<dave12345@{domain}>".lower() in _head(peer, a, writer, f"dave12345@{domain}")


def test_a_relay_is_reached_by_ipv6_and_knows_the_peers_address(
    a: LabHost, b: LabHost, writer: Login, reader: Login
) -> None:
    mid, began = pgp.message_id(), time.time()
    relay.operate(a, "route", "set", b.domain, "b6.lab", "--https", "only")
    try:
        message = pgp.encrypted(writer[0], reader[0], mid)
        assert smtp.submit(a.ip, writer, [reader[0]], message).code == 250
        with ImapMailbox(b.ip, *reader) as mailbox:
            until("it is in the mailbox", lambda: mailbox.find(mid), SECONDS)
    finally:
        relay.operate(a, "route", "remove", b.domain)
    entries = journal.read(b, began)
    file = of_message(queue_files(entries), mid, "mxdeliv")
    assert file is not None
    (client,) = (one.text for one in entries if one.text.startswith(f"{file.id}: client="))
    assert f"[{a.host.ip6}]" in client


def test_a_name_that_is_not_ascii_is_submitted_as_in_dns(a: LabHost, writer: Login) -> None:
    """Postfix takes no UTF-8 in addresses here, so that nobody is told to come back for ever."""
    with smtp.logged_in(a.ip, writer) as session:
        session.ehlo_or_helo_if_needed()
        assert not session.has_extn("smtputf8")
        session.mail(writer[0])
        session.command_encoding = "utf-8"
        # Said at DATA, as RCPT is for one of several too.
        assert session.docmd("RCPT", "TO:<dave12345@_six.bücher.lab>")[0] == 250
        code, text = session.docmd("DATA")
    assert (code, text[:6]) == (550, b"5.1.3 ")
