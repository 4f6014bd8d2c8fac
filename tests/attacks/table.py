"""Every attack, in the order of the table."""

from __future__ import annotations

from tests.attacks import accounts, logins, mailbox, nothing, recipients, silent, web
from tests.attacks.trial import Attack

ATTACKS: tuple[Attack, ...] = (
    *nothing.ATTACKS,
    *mailbox.ATTACKS,
    *silent.ATTACKS,
    *logins.ATTACKS,
    *web.ATTACKS,
    *accounts.ATTACKS,
    *recipients.ATTACKS,
)
