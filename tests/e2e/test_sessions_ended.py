"""IMAP sessions that the operator's policy would no longer let begin: ended, and nobody else's with them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.chat import relay
from tests.chat.imap import Mailbox
from tests.chat.person import fresh_address, fresh_password
from tests.lab.host import LabHost

SECONDS = 5.0

Order = Callable[[str], tuple[str, ...]]


@pytest.mark.parametrize(
    ("begin", "end"),
    [
        (lambda address: ("account", "suspend", address), lambda address: ("account", "resume", address)),
        (lambda address: ("block", "add", address), lambda address: ("block", "remove", address)),
    ],
    ids=["suspended", "blocked"],
)
def test_an_idling_client_is_cut_off_and_others_idle_on(b: LabHost, begin: Order, end: Order) -> None:
    address, password = fresh_address(b.domain), fresh_password()
    # Nobody's mail is on its way to them.
    bystander = fresh_address(b.domain), fresh_password()
    with Mailbox(b.ip, address, password) as hers, Mailbox(b.ip, *bystander) as other:
        hers.begin_idle()
        other.begin_idle()
        # By now both sleep in one and the same process of Dovecot's.
        assert hers.stays_quiet(1)
        relay.operate(b, *begin(address))
        try:
            assert not hers.stays_quiet(SECONDS)
            assert other.stays_quiet(1)
            other.end_idle()
        finally:
            relay.operate(b, *end(address))
    with Mailbox(b.ip, address, password):
        pass
