"""A passing host of the lab: a module of tests boots it, for as long as it needs it."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab import base, container, keys, network
from tests.lab.host import LabHost
from tests.lab.plan import Host, Paths


def _nothing(_: Path) -> None:
    """As the base is."""


@contextmanager
def alone(lock: Path) -> Iterator[None]:
    """One process at a time is in the block. The lock goes with the process that holds it."""
    with lock.open("w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def up(
    host: Host,
    paths: Paths,
    *,
    beneath: Callable[[Path], None] = _nothing,
    furnish: Callable[[Path], None] = _nothing,
) -> Iterator[LabHost]:
    """The host, booted for as long as the block runs; another process that wants it waits. The lab is up.

    `beneath` makes the directory that is laid over the base; `furnish` changes the root directory.
    """
    root = paths.root(host)
    with alone(paths.run / f"{host.name}.lock"):
        network.plug(host)
        try:
            beneath(root.with_name("upper"))
            container.mount(host, paths, base.path(paths, release=host.release))
            container.furnish(host, paths)
            furnish(root)
            container.boot(host, paths)
            container.await_ready(host, paths)
            yield LabHost(host, paths)
        finally:
            # Of the playbook: the next such host has the same address.
            keys.close_connections(paths, host.ip)
            container.shut(host, paths)
            container.unmount(host, paths)
            network.unplug(host)
