"""Closing a host's port for a while, as a broken or blocked peer would look, or its way to DNS."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from tests.lab.host import LabHost

# Those that the tests close, and that an interrupted run may have left closed.
PORTS = (25, 443)


@contextmanager
def closed(host: LabHost, port: int, how: Literal["refuse", "hang"]) -> Iterator[None]:
    """The host takes nothing on this TCP port while the block runs; open connections are cut too."""
    if how == "refuse":
        host.refuse_port(port)
    else:
        host.drop_port(port)
    try:
        yield
    finally:
        host.restore_port(port)


@contextmanager
def behind(host: LabHost, port: int) -> Iterator[None]:
    """The host is behind a firewall that passes one TCP port only, while the block runs."""
    host.refuse_other_ports(port)
    try:
        yield
    finally:
        host.allow_other_ports()


@contextmanager
def without_names(host: LabHost) -> Iterator[None]:
    """The host gets no answer to what it asks of DNS while the block runs."""
    host.lose_names()
    try:
        yield
    finally:
        host.find_names()


def reopen(host: LabHost) -> None:
    """Takes away what an interrupted run may have left."""
    for port in PORTS:
        host.restore_port(port)
    host.find_names()
    host.allow_other_ports()
