"""No attack: what the probes take by themselves, to compare the other rows with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.attacks.trial import Attack, AttackScene


@contextmanager
def nothing(_: AttackScene) -> Iterator[str]:
    yield ""


ATTACKS = (Attack("nothing", nothing),)
