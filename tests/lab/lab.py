"""The lab as one thing: up, deploy, status, down. What each part does is in the module of its name."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.lab import (
    base,
    ca,
    container,
    debian,
    deployment,
    inventory,
    keys,
    limits,
    mta,
    nameserver,
    network,
    process,
    signers,
)
from tests.lab.command import Progress
from tests.lab.errors import LabError
from tests.lab.host import LabHost
from tests.lab.plan import BRIDGE, BY_NAME, DNS, HOSTS, PASSING, Host, Paths

BOOTING = tuple(host for host in HOSTS if host.boots)
# Those with a root directory of their own. A passing host that is there when the lab goes is of an
# interrupted run.
ROOTED = (DNS, *BOOTING, *PASSING)


def silent(_: str) -> None:
    """Progress for those who want none."""


@contextmanager
def readable() -> Iterator[None]:
    """What is written meanwhile can be read by the hosts' services, whatever umask we were started with."""
    before = os.umask(0o022)
    try:
        yield
    finally:
        os.umask(before)


def stamped(roots: Mapping[str, Path]) -> str:
    """What the lab stands on: a line for each host that boots."""
    return "".join(f"{host.name} {roots[host.release]}\n" for host in BOOTING)


@dataclass(frozen=True)
class HostStatus:
    """`state`: up, down, or half (an interrupted run left something)."""

    name: str
    domain: str
    ip: str
    state: str


class Lab:
    """The lab on this machine. There is one, whoever asks for it."""

    def __init__(self, paths: Paths | None = None, packages: Sequence[str] = ()) -> None:
        """`packages`: what the bases of its hosts have, where that is not this tree's list."""
        self.paths = paths or Paths.from_environment()
        self.packages = packages

    def up(self, progress: Progress = silent) -> None:
        """Bring up what isn't; a lab that is up stays as it is."""
        roots = self.bases(progress)
        with self.locked(progress), readable():
            if self.stands_on_others(roots):
                progress("a base has changed: taking down what stands on the old one")
                self.take_down(progress)
                for root in roots.values():
                    base.forget_others(self.paths, root)
            self.raise_hosts(roots, progress)

    def bases(self, progress: Progress = silent) -> dict[str, Path]:
        """The bases of the hosts, by release. Makes those that aren't there, which takes minutes."""
        debian.require_root()
        debian.require_debian(Path("/etc/os-release").read_text(encoding="utf-8"))
        with self.locked(progress), readable():
            debian.install_tools(progress, self.paths.log / "tools")
            releases = sorted({host.release for host in HOSTS})
            return {
                release: base.ensure(self.paths, progress, self.packages, release) for release in releases
            }

    def stands_on_others(self, roots: Mapping[str, Path]) -> bool:
        stamp = self.paths.state / "base"
        return stamp.exists() and stamp.read_text(encoding="utf-8") != stamped(roots)

    def raise_hosts(self, roots: Mapping[str, Path], progress: Progress) -> None:
        """`roots`: the bases, by release."""
        paths = self.paths
        for directory in (paths.run, paths.log, paths.records(DNS).parent):
            directory.mkdir(parents=True, exist_ok=True)
        (paths.state / "base").write_text(stamped(roots), encoding="utf-8")
        limits.widen(paths.run / "limits.json")
        keys.ensure(paths)
        ca.ensure(paths.ca)
        signers.ensure(paths)
        network.make_bridge()
        for host in HOSTS:
            network.plug(host)
        if process.alive(paths.process("dns")) is None:
            progress(f"name server at {DNS.ip}")
            container.mount(DNS, paths, roots[DNS.release])
            nameserver.start(paths)
        started = []
        for host in BOOTING:
            if process.alive(paths.process(host.name)) is None:
                container.shut(host, paths)
                container.mount(host, paths, roots[host.release])
                container.furnish(host, paths)
                if host.name == "mta":
                    mta.furnish(paths.root(host), paths)
                container.boot(host, paths)
                started.append(host)
        if started:
            progress(f"booting {', '.join(host.domain for host in started)}")
        for host in BOOTING:
            container.await_ready(host, paths)
        progress("up: " + ", ".join(f"{host.domain} {host.ip}" for host in BOOTING))

    def deploy(self, progress: Progress = silent, *, mitogen: bool = False) -> deployment.Recap:
        """Run the playbook on the relays and publish the DNS records that it wrote."""
        debian.require_root()
        if any(entry.state != "up" for entry in self.status()):
            raise LabError("run `python -m tests.lab up` first: not all hosts are up")
        with self.locked(progress):
            # Each time: it names this tree's wheels, and another clone may have brought the lab up.
            self.paths.inventory.write_text(inventory.inventory(self.paths), encoding="utf-8")
            recap = deployment.deploy(self.paths, progress, mitogen=mitogen)
            nameserver.publish(self.paths)
            progress("published: " + ", ".join(f"{host.domain}" for host in HOSTS if host.relay))
        return recap

    def publish(self) -> None:
        """Serve the records files anew, after somebody changed one."""
        nameserver.publish(self.paths)

    def down(self, progress: Progress = silent) -> None:
        """Take down what is up, and leave this machine as it was; the cached base stays."""
        debian.require_root()
        with self.locked(progress):
            self.take_down(progress)

    def take_down(self, progress: Progress) -> None:
        paths = self.paths
        nameserver.stop(paths)
        keys.close_connections(paths)
        for host in (*BOOTING, *PASSING):
            container.shut(host, paths)
        for host in ROOTED:
            container.unmount(host, paths)
        for host in (*PASSING, *reversed(HOSTS)):
            network.unplug(host)
        network.remove_bridge()
        limits.restore(paths.run / "limits.json")
        shutil.rmtree(paths.state, ignore_errors=True)
        shutil.rmtree(paths.run, ignore_errors=True)
        progress("down")

    def status(self) -> list[HostStatus]:
        namespaces = network.namespaces() if shutil.which("ip") else set()
        return [HostStatus(host.name, host.domain, host.ip, self.state(host, namespaces)) for host in HOSTS]

    def state(self, host: Host, namespaces: set[str]) -> str:
        if host.boots:
            running = container.leader(host, self.paths) is not None
        elif host is DNS:
            running = process.alive(self.paths.process("dns")) is not None
        else:
            running = host.netns in namespaces
        if running and host.netns in namespaces:
            return "up"
        return "half" if host.netns in namespaces or self.paths.root(host).is_mount() else "down"

    def host(self, name: str) -> LabHost:
        """A host by its name or its domain."""
        try:
            return LabHost(BY_NAME[name], self.paths)
        except KeyError:
            raise LabError(f"name one of {', '.join(host.name for host in HOSTS)}: no host {name}") from None

    def netns(self, name: str) -> str:
        """The network namespace of a host, for `ip netns exec`."""
        return self.host(name).netns

    @contextmanager
    def in_use(self, progress: Progress = silent, *, keep: bool = False) -> Iterator[None]:
        """Up as long as a process is in this block. If one of them brought it up, the last takes it down.

        `keep`: not this one.
        """
        mark = self.paths.run / "in-use"
        with self.paths.run.with_suffix(".users").open("w", encoding="utf-8") as users:
            fcntl.flock(users, fcntl.LOCK_SH)
            ours = any(host.state != "up" for host in self.status())
            try:
                self.up(progress)
                if ours:
                    mark.touch()
                yield
            finally:
                fcntl.flock(users, fcntl.LOCK_UN)
                with suppress(BlockingIOError):  # others are in it
                    fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    if (ours or mark.exists()) and not keep:
                        self.down(progress)

    @contextmanager
    def locked(self, progress: Progress) -> Iterator[None]:
        """One command at a time may change the lab. The lock goes with the process that holds it."""
        with Path(f"/run/{BRIDGE}.lock").open("w", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                progress("another command changes the lab: waiting for it")
                fcntl.flock(file, fcntl.LOCK_EX)
            yield
