"""A clock of its own for one relay, which can jump: for all its programs that have to do with mail.

The lab's hosts share the kernel's clock, and nobody sets this machine's; `clock.c` says how it is done.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.faults.arrangement import Arrangement
from tests.faults.disk import SERVICES
from tests.lab.command import run
from tests.lab.host import LabHost

_SOURCE = Path(__file__).with_name("clock.c")
_LIBRARY, _OFFSET, _PRELOAD = "/usr/local/lib/lab-clock.so", "/var/lib/lab-clock", "/etc/ld.so.preload"
_RESTART = f"systemctl restart unbound nginx {SERVICES}"


@contextmanager
def movable(arrangement: Arrangement) -> Iterator[None]:
    """The programs of _b.lab run by a clock that `set_ahead` sets while the block runs."""
    _, host = arrangement.hosts
    root = host.paths.root(host.host)
    run("gcc", "-shared", "-fPIC", "-O2", f'-DOFFSET="{_OFFSET}"', "-o", f"{root}{_LIBRARY}", str(_SOURCE))
    Path(f"{root}{_OFFSET}").write_bytes(bytes(8))
    Path(f"{root}{_PRELOAD}").write_text(f"{_LIBRARY}\n", encoding="ascii")
    host.run(_RESTART)
    try:
        yield
    finally:
        Path(f"{root}{_PRELOAD}").unlink()
        host.run(_RESTART)
        for left in (_LIBRARY, _OFFSET):
            Path(f"{root}{left}").unlink()


def set_ahead(host: LabHost, seconds: int) -> None:
    """Let the clock jump: so many seconds ahead of the right time, or behind."""
    # Into the very file that is mapped, all eight octets at once.
    with Path(f"{host.paths.root(host.host)}{_OFFSET}").open("r+b", buffering=0) as file:
        file.write(struct.pack("=q", seconds))
    # systemd goes by the clock of the kernel, which is as it was: what its timer would start is started here.
    host.run("systemctl start chatmail-clock.service")
