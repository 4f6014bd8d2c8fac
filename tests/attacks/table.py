"""Every attack, in the order of the table."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.attacks import accounts, logins, mailbox, recipients, silent, web, webimap
from tests.attacks.trial import Attack, AttackScene


@contextmanager
def _nothing(_: AttackScene) -> Iterator[str]:
    yield ""


ATTACKS: tuple[Attack, ...] = (
    # What the probes take by themselves, to compare the other rows with.
    Attack("nothing", _nothing),
    *mailbox.ATTACKS,
    *silent.ATTACKS,
    *logins.ATTACKS,
    *web.ATTACKS,
    *webimap.ATTACKS,
    *accounts.ATTACKS,
    *recipients.ATTACKS,
)
