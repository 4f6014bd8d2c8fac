"""A relay that died: someone has an address there, and nobody gets an answer from it any more."""

from __future__ import annotations

from tests.chat import firewall
from tests.chat.person import Person, fresh_address
from tests.lab import Lab
from tests.lab.zone import UNUSED_ADDRESS

DOMAIN = "dead.lab"


def join(lab: Lab, person: Person) -> str:
    """Another relay answers this person's first login in its place; afterwards nobody does. The address."""
    host, user = lab.host("a"), fresh_address(lab.host("a").domain)
    with firewall.in_place_of(lab.host("client"), UNUSED_ADDRESS, host, (465, 993)):
        address = person.join_relay(
            DOMAIN, imapUser=user, smtpUser=user, certificateChecks="acceptInvalidCertificates"
        )
        # Connections that are open would stay.
        person.go_offline()
    person.go_online()
    return address
