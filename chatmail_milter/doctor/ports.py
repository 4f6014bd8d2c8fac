"""Checks which programs listen on the ports of users and peers, by ss(8), which names them only to root."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator

from chatmail_milter.doctor import Finding, FindingState, good, unknown

SUBJECT = "ports"
# Port: the program that listens on it, as the kernel names that, and what fails without it.
WANTED = {
    25: ("master", "peers can't deliver by SMTP"),
    80: ("nginx", "the certificate can't be renewed"),
    143: ("dovecot", "old apps can't read mail"),
    443: ("nginx", "peers can't deliver by HTTPS, and apps can't create accounts"),
    465: ("master", "apps can't send"),
    587: ("master", "apps can't send by STARTTLS"),
    993: ("dovecot", "apps can't read mail"),
}
_PORT = re.compile(r":(\d+)\Z")
_PROGRAM = re.compile(r"\(\"([^\"]+)\",pid=")

# The programs on each port: a server's processes share its socket.
Listeners = Callable[[], dict[int, set[str]]]


def listeners() -> dict[int, set[str]]:
    """The programs that listen on each TCP port; empty if ss does not name them."""
    said = subprocess.run(
        ["/usr/bin/ss", "--no-header", "--listening", "--tcp", "--numeric", "--processes"],
        capture_output=True, text=True, check=True, timeout=20,
    ).stdout  # fmt: skip
    return parse(said)


def parse(said: str) -> dict[int, set[str]]:
    """Parses the output of `ss -Hltnp`, without loopback."""
    found: dict[int, set[str]] = {}
    for line in said.splitlines():
        local = line.split()[3]
        port = _PORT.search(local)
        if port and not local.startswith(("127.", "[::1]")):
            found.setdefault(int(port[1]), set()).update(_PROGRAM.findall(line))
    return found


def check(listeners: Listeners = listeners) -> Iterator[Finding]:
    """Checks each port that the relay needs."""
    try:
        there = listeners()
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        yield unknown(SUBJECT, "listeners", f"ss does not answer: {error}")
        return
    for port, (program, why) in WANTED.items():
        holders, restart = there.get(port), f"systemctl restart {_UNITS[program]}"
        if holders is None:
            yield Finding(SUBJECT, str(port), FindingState.BAD, "has no listener", why, restart)
        elif holders and program not in holders:
            names = ", ".join(sorted(holders))
            yield Finding(
                SUBJECT, str(port), FindingState.BAD, f"{names} has it", why, f"stop {names}, then {restart}"
            )
        else:
            yield good(SUBJECT, str(port), program if holders else "a program listens; only root sees which")


_UNITS = {"master": "postfix", "nginx": "nginx", "dovecot": "dovecot"}
