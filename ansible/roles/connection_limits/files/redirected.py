"""Checks from outside that a host answers connections that it redirects: `redirected.py HOST COUNT PORT…`.

Makes COUNT concurrent connections to each port. Fails if the host answers the first one and not all: then a
packet filter of the host accepts the port, but not the port to which the relay redirects. A port where not
even the first connection is answered is ignored, because the control host's own network may block it, as
many do with port 25.
"""

from __future__ import annotations

import contextlib
import socket
import sys

# Above the 7 s after which a SYN is sent for the fourth time, so that a lost packet is no filter.
SECONDS = 12.0


def answered(host: str, port: int, count: int) -> int:
    """How many of `count` connections at once are answered."""
    with contextlib.ExitStack() as held:
        for number in range(count):
            try:
                held.enter_context(socket.create_connection((host, port), SECONDS))
            except OSError:
                return number
    return count


def main() -> None:
    host, count = sys.argv[1], int(sys.argv[2])
    found = {port: answered(host, port, count) for port in map(int, sys.argv[3:])}
    wrong = [str(port) for port, number in found.items() if 0 < number < count]
    if wrong:
        sys.exit(f"connections above the first {count - 1} are not answered on port {', '.join(wrong)}")


if __name__ == "__main__":
    main()
