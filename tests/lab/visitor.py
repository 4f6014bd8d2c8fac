"""Coming to hosts of the lab from an address that nobody else has, so that its traces can be told apart."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.lab.command import run
from tests.lab.passing import alone
from tests.lab.plan import BRIDGE, NETWORK, Paths


@contextmanager
def seen_as(address: str, *hosts: str) -> Iterator[None]:
    """Whatever this machine connects to at these addresses comes from `address`, one of the lab's network.

    Another process that wants the same address waits.
    """
    with alone(Paths.from_environment().run / f"{address}.lock"):
        run("ip", "addr", "replace", f"{address}/{NETWORK.prefixlen}", "dev", BRIDGE)
        try:
            for host in hosts:
                run("ip", "route", "replace", f"{host}/32", "dev", BRIDGE, "src", address)
            yield
        finally:
            for host in hosts:
                run("ip", "route", "del", f"{host}/32", "dev", BRIDGE, check=False)
            run("ip", "addr", "del", f"{address}/{NETWORK.prefixlen}", "dev", BRIDGE)
