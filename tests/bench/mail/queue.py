"""The queue of a relay's own Postfix: emptied, and for a while delivered to nobody."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.lab.host import LabHost
from tests.lab.wait import until

QUEUE = "var/spool/postfix"
DEADLINE = 60.0  # seconds for the queue to empty


def drained(host: LabHost) -> None:
    """Wait until no message comes in or is being delivered."""
    queue = host.paths.root(host.host) / QUEUE
    until(
        lambda: (
            not any(path.is_file() for name in ("incoming", "active") for path in (queue / name).rglob("*"))
        ),
        DEADLINE,
        f"see what stays in {queue}",
    )


@contextmanager
def without_delivery(host: LabHost) -> Iterator[None]:
    """What is for the relay's own users is taken, checks and all, and then thrown away."""
    file = host.paths.root(host.host) / "etc/postfix/main.cf"
    before = file.read_bytes()
    host.run("postconf -e virtual_transport=discard: && postfix reload")
    try:
        yield
        drained(host)
    finally:
        # Not by postconf: it writes in a way of its own.
        file.write_bytes(before)
        host.run("postfix reload")
