"""Counts the ports that coturn has open for calls, in the kernel's table of UDP sockets (proc(5)).

Debian's coturn counts nothing itself (it is built without Prometheus).
"""

from __future__ import annotations

import pwd
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

USER = "turnserver"
# Of the host, whichever network namespace this process is in.
_TABLES = (Path("/proc/1/net/udp"), Path("/proc/1/net/udp6"))


@dataclass(frozen=True, slots=True)
class CallFigures:
    """`up`: whether coturn listens. `ports`: UDP ports that it holds for participants of calls."""

    up: bool
    ports: int


def figures(port: int) -> CallFigures:
    """The figures of the coturn on `port`. Raises `OSError`, `KeyError` without its user, `ValueError`."""
    user = pwd.getpwnam(USER).pw_uid
    return count((line for table in _TABLES for line in _lines(table)), user, port)


def count(lines: Iterable[str], user: int, port: int) -> CallFigures:
    """The same, from the lines of the tables."""
    fields = [line.split() for line in lines]
    # Field 1 is ADDRESS:PORT in hex, field 7 the user's number.
    ports = {int(one[1].rpartition(":")[2], 16) for one in fields if int(one[7]) == user}
    return CallFigures(port in ports, len(ports - {port}))


def _lines(table: Path) -> Iterator[str]:
    try:
        with table.open() as lines:
            next(lines)
            yield from lines
    except FileNotFoundError:
        return  # the kernel has no IPv6
