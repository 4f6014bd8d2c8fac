"""Who listens on the ports that users and peers need. By ss(8), as root: it names the programs then."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator

from chatmail_milter.doctor.finding import Finding, FindingState, good, unknown

SUBJECT = "ports"
# Port: the program that listens on it, as the kernel names that, and what fails without it.
WANTED = {
    25: ("master", "peers can't deliver by SMTP"),
    80: ("nginx", "the certificate can't be renewed"),
    143: ("dovecot", "old apps can't read mail"),
    443: ("nginx", "peers can't deliver by HTTPS, and apps can't make accounts"),
    465: ("master", "apps can't send"),
    587: ("master", "apps can't send by STARTTLS"),
    993: ("dovecot", "apps can't read mail"),
}
_PORT = re.compile(r":(\d+)\Z")
_PROGRAM = re.compile(r"\(\"([^\"]+)\",pid=")

# The programs on each port: a server's processes share its socket.
Listeners = Callable[[], dict[int, set[str]]]


def listeners() -> dict[int, set[str]]:
    """The programs on each TCP port that is listened on; empty where ss doesn't tell."""
    said = subprocess.run(
        ["/usr/bin/ss", "--no-header", "--listening", "--tcp", "--numeric", "--processes"],
        capture_output=True, text=True, check=True, timeout=20,
    ).stdout  # fmt: skip
    return parse(said)


def parse(said: str) -> dict[int, set[str]]:
    """What `ss -Hltnp` says, loopback left out."""
    found: dict[int, set[str]] = {}
    for line in said.splitlines():
        local = line.split()[3]
        port = _PORT.search(local)
        if port and not local.startswith(("127.", "[::1]")):
            found.setdefault(int(port[1]), set()).update(_PROGRAM.findall(line))
    return found


def check(listeners: Listeners = listeners) -> Iterator[Finding]:
    """Each port that is wanted."""
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
            yield good(SUBJECT, str(port), program if holders else "somebody listens; only root sees who")


_UNITS = {"master": "postfix@-", "nginx": "nginx", "dovecot": "dovecot"}
