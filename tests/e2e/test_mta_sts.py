"""MTA-STS (RFC 8461) for outgoing SMTP: a peer's policy decides which hosts get its mail.

_a.lab has it switched on, _b.lab not.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.chat import capture, journal, pgp, relay, smtp
from tests.chat.deadline import until
from tests.chat.person import fresh_address
from tests.chat.policy_host import policy_host
from tests.e2e.conftest import Login
from tests.lab import Lab, ca
from tests.lab.host import LabHost

# In the lab's zone: the policy of the first names its MX, that of the second names another.
KEPT, MOVED = "kept.lab", "moved.lab"
POLICIES = {
    f"mta-sts.{KEPT}": f"version: STSv1\nmode: enforce\nmx: mx.{KEPT}\nmax_age: 86400\n",
    f"mta-sts.{MOVED}": "version: STSv1\nmode: enforce\nmx: mx.elsewhere.lab\nmax_age: 86400\n",
}
SECONDS = 40.0


@pytest.fixture(autouse=True)
def peers(lab: Lab, a: LabHost) -> Iterator[capture.CapturingPeer]:
    """Both peers: their web server with the policies, and one MX with a certificate for both its names."""
    host = lab.host("client").host
    mx = ca.issue(lab.paths.ca, [f"mx.{KEPT}", f"mx.{MOVED}"])
    with (
        policy_host(host, POLICIES, *ca.issue(lab.paths.ca, list(POLICIES))),
        capture.smtp_peer(host, *mx) as peer,
    ):
        yield peer
    relay.forget_endpoints(a)


def _knows(a: LabHost, domain: str, rule: str) -> None:
    """Wait until Postfix is told of the domain's policy. The resolver keeps what it once had in time."""
    until(f"the policy of {domain} is known", lambda: _asked(a, domain) == rule, SECONDS, every=1)


def _submit(a: LabHost, writer: Login, recipient: str) -> None:
    message = pgp.encrypted(writer[0], recipient, pgp.message_id())
    assert smtp.submit(a.ip, writer, [recipient], message).code == 250


def _asked(host: LabHost, domain: str) -> str:
    """What Postfix is told about a domain."""
    query = ["postmap", "-q", domain, "socketmap:inet:127.0.0.1:8461:postfix"]
    return host.run(query, check=False).stdout.strip()


def test_mx_that_the_policy_names_gets_the_mail(
    peers: capture.CapturingPeer, a: LabHost, writer: Login
) -> None:
    _knows(a, KEPT, f"secure match=mx.{KEPT} servername=hostname")
    recipient = fresh_address(KEPT)
    _submit(a, writer, recipient)
    peers.next(SECONDS, recipient)


def test_mx_that_the_policy_does_not_name_gets_nothing(
    peers: capture.CapturingPeer, a: LabHost, writer: Login
) -> None:
    _knows(a, MOVED, "secure match=mx.elsewhere.lab servername=hostname")
    began, recipient = time.time(), fresh_address(MOVED)
    _submit(a, writer, recipient)

    def refused() -> bool:
        waiting = [row["queue_id"] for row in relay.queued(a, recipient)]
        lines = [one.text for one in journal.read(a, began)]
        return any(f"{one}: Server certificate not verified" in lines for one in waiting)

    try:
        until("the certificate is for a host that the policy doesn't name", refused, SECONDS, every=0.3)
        assert peers.nothing(recipient)
    finally:
        for row in relay.queued(a, recipient):
            a.run(["postsuper", "-d", row["queue_id"]])


def test_peer_without_a_policy_has_what_everybody_has(a: LabHost) -> None:
    assert _asked(a, "mta.lab") == ""


def test_relay_without_it_runs_no_resolver(b: LabHost) -> None:
    assert b.run("systemctl is-active postfix-mta-sts-resolver", check=False).stdout.strip() == "inactive"
    assert "socketmap" not in b.run("postconf -h smtp_tls_policy_maps").stdout
