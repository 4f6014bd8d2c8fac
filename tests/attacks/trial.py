"""One trial: an attack at its height, what others do meanwhile, and whether all is as before soon after."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from tests.attacks import probes, strangers
from tests.attacks.probes import DEADLINE, PROBES, People, Result, Rounds
from tests.chat import relay
from tests.chat.deadline import until
from tests.lab import Lab, LabError
from tests.lab.host import LabHost
from tests.lab.visitor import seen_as

# Of each probe, during an attack: it lasts for 12 s at least, longer than the relay bears silence of many.
ROUNDS = 20
# Until all is as before; and by how many octets the relay's files may have grown.
NORMAL_SECONDS, DISK_SLACK = 60.0, 64 * 2**20


@dataclass
class AttackScene:
    """What an attack is given: the relay that it goes to, and addresses to come from."""

    lab: Lab
    host: LabHost

    def ipv4(self, number: int) -> list[str]:
        return strangers.ipv4(number)

    def networks6(self, number: int) -> list[str]:
        """IPv6 addresses, each in a /64 of its own."""
        return strangers.networks6(number)

    def addresses6(self, number: int) -> list[str]:
        """IPv6 addresses of one /64."""
        return strangers.addresses6(number)


@dataclass(frozen=True)
class Attack:
    """`normal`: what else has to be true within the minute after. See the package for the rest."""

    name: str
    strike: Callable[[AttackScene], AbstractContextManager[str]]
    shared: bool = False
    normal: Callable[[AttackScene], bool] = lambda _: True


@dataclass(frozen=True)
class Probed:
    """What became of one kind of probe during the attack; seconds of those that went well, and of all."""

    number: int
    failed: int
    median: float
    slowest: float

    @classmethod
    def of(cls, results: list[Result]) -> Probed:
        seconds = [one.seconds for one in results]
        failed = sum(one.failure is not None for one in results)
        return cls(len(results), failed, median(seconds), max(seconds))


@dataclass(frozen=True)
class AttackRow:
    """`normal`: seconds from the end of the attack until all was as before, None: not within the minute."""

    name: str
    attacker: str
    probed: Mapping[str, Probed]
    normal: float | None
    seconds: float
    breaches: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        plain = {name: one.__dict__ for name, one in self.probed.items()}
        return {**self.__dict__, "probed": plain, "breaches": list(self.breaches), "ok": not self.breaches}


def hold(attack: Attack, scene: AttackScene, people: People) -> AttackRow:
    """Make the trial."""
    began = time.monotonic()
    row = AttackRow(attack.name, "", {}, None, 0.0, ())
    with (
        strangers.routes(scene.host),
        seen_as(strangers.SHARED, scene.host.ip) if attack.shared else nullcontext(),
    ):
        used = _used(scene.host)
        before = _troubles(people)
        if before:
            row = replace(row, breaches=tuple(f"before the attack: {one}" for one in before))
        else:
            row = _strike(attack, scene, people, row)
            row = _await_normal(attack, scene, people, row, used)
    return replace(row, seconds=time.monotonic() - began)


def _strike(attack: Attack, scene: AttackScene, people: People, row: AttackRow) -> AttackRow:
    breaches: list[str] = []
    rounds = Rounds(people)
    try:
        with attack.strike(scene) as achieved:
            row = replace(row, attacker=achieved)
            with rounds:
                until(
                    "every probe is made",
                    lambda: rounds.fewest() >= ROUNDS,
                    ROUNDS * DEADLINE,
                    every=0.2,
                )
    except (AssertionError, LabError, OSError, subprocess.SubprocessError) as error:
        breaches.append(f"the attack itself: {type(error).__name__}: {error}")
    results = {name: many for name, many in rounds.results.items() if many}
    for name, many in results.items():
        said = [one.failure for one in many if one.failure]
        if said:
            breaches.append(f"{name}: {len(said)} of {len(many)} failed: {said[0]}")
    breaches += [f"{name}: never made" for name in PROBES if name not in results]
    probed = {name: Probed.of(many) for name, many in results.items()}
    return replace(row, probed=probed, breaches=tuple(breaches))


def _await_normal(attack: Attack, scene: AttackScene, people: People, row: AttackRow, used: int) -> AttackRow:
    began = time.monotonic()
    while True:
        troubles = _troubles(people)
        if failed := relay.failed_units(scene.host):
            troubles.append(f"failed units: {failed}")
        if _used(scene.host) > used + DISK_SLACK:
            troubles.append("the disk is fuller than before")
        if not attack.normal(scene):
            troubles.append("the attack's own condition does not hold")
        now = time.monotonic() - began
        if not troubles:
            return replace(row, normal=now)
        if now > NORMAL_SECONDS:
            after = tuple(f"a minute after: {one}" for one in troubles)
            return replace(row, breaches=(*row.breaches, *after))
        time.sleep(0.5)


def _troubles(people: People) -> list[str]:
    """What of one round of all probes failed."""
    said = {name: probes.once(name, people).failure for name in PROBES}
    return [f"{name}: {failure}" for name, failure in said.items() if failure]


def _used(host: LabHost) -> int:
    """Octets of queue, mailboxes and unfinished requests, whose files have no name. The disk is shared."""
    named = "du --summarize --one-file-system --block-size=1 /var"
    nameless = "find -L /proc/[0-9]*/fd -maxdepth 1 -type f -links 0 -printf '%s\\n' 2>/dev/null"
    said = host.run(f"{named}; {nameless}", check=False).stdout
    return sum(int(line.split()[0]) for line in said.splitlines())
