"""Every attack, in the order of the table."""

from __future__ import annotations

from tests.attacks import logins, mailbox, nothing, silent, web
from tests.attacks.trial import Attack

ATTACKS: tuple[Attack, ...] = (
    *nothing.ATTACKS,
    *mailbox.ATTACKS,
    *silent.ATTACKS,
    *logins.ATTACKS,
    *web.ATTACKS,
)
