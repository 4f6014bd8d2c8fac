"""What goes wrong, in turn, at _b.lab: it receives half of the messages, and sends the other half."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Literal

from tests.chat import firewall, journal
from tests.chat.deadline import until
from tests.faults import clock, disk
from tests.faults.trial import FaultCause, FaultScene
from tests.lab import container
from tests.lab.host import LabHost
from tests.lab.plan import BY_NAME

# Shares of the messages that are submitted when something is killed: amid its work, again and again.
BLOWS = (0.15, 0.35, 0.55)
STRIKE = 0.25

# Every unit that has to do with mail; Postfix's is what its master and all their children are in.
OURS = (
    "chatmail-milter",
    "mxdeliv-app",
    "chatmail-hooks",
    "mxdeliv-relay",
    "chatmail-push",
    "chatmail-recipients",
    "chatmail-resolver",
    "chatmail-wake",
)
POSTFIX = BY_NAME["b"].postfix
OTHERS = {
    "Postfix": POSTFIX,
    "Dovecot": "dovecot",
    "nginx": "nginx",
    "OpenDKIM": "opendkim",
    "unbound": "unbound",
}

# A message has an entry there as soon as a delivery of it was put off.
_PUT_OFF = """\
cd /var/spool/postfix
find incoming active deferred -type f -perm -u+x | wc -l
find defer -type f | wc -l
"""
_BITE_SECONDS = 45.0
# Postfix is started by scripts, which on a machine that has much else to do takes a while.
_START_SECONDS = 120.0


def nothing(scene: FaultScene) -> None:
    scene.flow.reach(BLOWS[1])
    scene.count_waiting()


def kill(*units: str, times: int = len(BLOWS)) -> Callable[[FaultScene], None]:
    """`kill -9` of all processes of each unit, so often; nobody but systemd starts them again."""

    def strike(scene: FaultScene) -> None:
        for share in BLOWS[-times:]:
            scene.flow.reach(share)
            for unit in units:
                until(f"{unit} runs", partial(_runs, scene.b, unit), _START_SECONDS)
                if unit == POSTFIX:
                    _freeze_and_count(scene)
                scene.b.run(f"systemctl kill --signal=KILL --kill-whom=all {unit}.service")
            scene.count_waiting()

    return strike


def _freeze_and_count(scene: FaultScene) -> None:
    """Postfix's last moment lasts until it is killed, so that what it was about can be counted."""
    scene.b.run(f"systemctl kill --signal=STOP --kill-whom=all {POSTFIX}.service")
    scene.agents += int(scene.b.run("pgrep --count --euid postfix --exact 'lmtp|smtp'", check=False).stdout)


def _runs(host: LabHost, unit: str) -> bool:
    return host.run(f"systemctl is-active --quiet {unit}.service", check=False).returncode == 0


def closed(*ports: int, how: Literal["refuse", "hang"]) -> Callable[[FaultScene], None]:
    """These ports of _b.lab, for all of the network; connections that are open are cut, too."""

    def strike(scene: FaultScene) -> None:
        with contextlib.ExitStack() as stack:
            scene.flow.reach(STRIKE)
            for port in ports:
                stack.enter_context(firewall.closed(scene.b, port, how))
            _bite(scene, scene.a)

    return strike


def _bite(scene: FaultScene, host: LabHost, meanwhile: Callable[[], object] = lambda: None) -> None:
    """Until this relay's users have submitted and each message of theirs was delivered or put off."""
    scene.flow.go_on()
    ours = {mid for mid, at in scene.flow.relays.items() if at == host.name}

    def bitten() -> bool:
        meanwhile()
        if any(mid in ours for mid in scene.flow.waiting()):
            return False
        queued, put_off = map(int, host.run(_PUT_OFF).stdout.split())
        return put_off >= queued

    with contextlib.suppress(AssertionError):
        # A road that hangs takes its time with each. Then some of them were on their way all the while.
        until("the cause has bitten", bitten, _BITE_SECONDS, every=0.25)
    scene.waiting = max(scene.waiting, int(host.run(_PUT_OFF).stdout.split()[0]))


def cable_out(scene: FaultScene) -> None:
    """Nothing says that the peer is away: packets are lost."""
    scene.flow.reach(STRIKE)
    scene.b.unplug()
    try:
        _bite(scene, scene.a)
    finally:
        scene.b.plug()


def power_cut(scene: FaultScene) -> None:
    """Every process of the peer is killed at once, and later the host boots from what is on its disk."""
    scene.flow.reach(STRIKE)
    host, paths = scene.b.host, scene.b.paths
    _freeze_and_count(scene)
    # Its journal is in memory, as the playbook wants it.
    scene.saved += journal.read(scene.b, scene.began)
    container.shut(host, paths)
    try:
        _bite(scene, scene.a)
    finally:
        container.boot(host, paths)
        container.await_ready(host, paths)


def names_away(scene: FaultScene) -> None:
    """Neither relay gets an answer to what it asks of DNS, and its resolver remembers nothing."""
    scene.flow.reach(STRIKE)
    with firewall.without_names(scene.a), firewall.without_names(scene.b):
        for host in (scene.a, scene.b):
            host.run("systemctl restart unbound")
        _bite(scene, scene.a)
        scene.count_waiting()


def disk_full(scene: FaultScene) -> None:
    """Queue, mailboxes and store of _b.lab have no octet left; what is freed is taken at once."""
    scene.flow.reach(STRIKE)
    try:
        _bite(scene, scene.a, lambda: disk.fill(scene.b))
        scene.count_waiting()
    finally:
        disk.free(scene.b)


def clock_jumps(scene: FaultScene) -> None:
    """The clock of _b.lab: an hour ahead, an hour behind, and right again."""
    try:
        for share, seconds in zip(BLOWS, (3600, -3600, 0), strict=True):
            scene.flow.reach(share)
            clock.set_ahead(scene.b, seconds)
            scene.count_waiting()
    finally:
        clock.set_ahead(scene.b, 0)


def _causes() -> Iterator[FaultCause]:
    yield FaultCause("nothing", nothing)
    for unit in OURS:
        yield FaultCause(f"kill -9 of {unit}", kill(unit))
    for name, unit in OTHERS.items():
        yield FaultCause(f"kill -9 of {name}", kill(unit))
    yield FaultCause("peer without power", power_cut)
    yield FaultCause("peer's cable out", cable_out)
    yield FaultCause("peer's 443 closed", closed(443, how="refuse"))
    yield FaultCause("peer's 25 closed", closed(25, how="refuse"))
    yield FaultCause("peer's 443 and 25 closed", closed(443, 25, how="refuse"))
    yield FaultCause("peer's 443 and 25 hang", closed(443, 25, how="hang"))
    yield FaultCause("DNS away", names_away)
    yield FaultCause("peer's disk full", disk_full, around=disk.small)
    yield FaultCause("peer's clock jumps", clock_jumps, around=clock.movable)


CAUSES = tuple(_causes())
