"""Who listens on the ports that users and peers need. By ss(8), as root: it names the programs then."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator

from chatmail_milter.doctor.finding import Finding, State, good, unknown

SUBJECT = "ports"
# Port: the program whose it is, as the kernel names it, and what does not work without it.
WANTED = {
    25: ("master", "peers can't deliver by SMTP"),
    80: ("nginx", "the certificate can't be renewed"),
    143: ("dovecot", "old apps can't read mail"),
    443: ("nginx", "peers can't deliver by HTTPS, and nobody gets an account"),
    465: ("master", "apps can't send"),
    587: ("master", "apps can't send by STARTTLS"),
    993: ("dovecot", "apps can't read mail"),
}
_LISTENER = re.compile(r":(?P<port>\d+)\s+\S+\s*(?:users:\(\(\"(?P<program>[^\"]+)\")?")

Listeners = Callable[[], dict[int, str]]


def listeners() -> dict[int, str]:
    """The program on each TCP port that is listened on; empty where ss doesn't tell."""
    said = subprocess.run(
        ["/usr/bin/ss", "--no-header", "--listening", "--tcp", "--numeric", "--processes"],
        capture_output=True, text=True, check=True, timeout=20,
    ).stdout  # fmt: skip
    return parse(said)


def parse(said: str) -> dict[int, str]:
    """What `ss -Hltnp` says, loopback left out."""
    found: dict[int, str] = {}
    for line in said.splitlines():
        local = line.split()[3]
        if local.startswith(("127.", "[::1]")):
            continue
        match = _LISTENER.search(line[line.index(local) :])
        if match:
            found.setdefault(int(match["port"]), match["program"] or "")
    return found


def check(listeners: Listeners = listeners) -> Iterator[Finding]:
    """Each port that is wanted."""
    try:
        there = listeners()
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        yield unknown(SUBJECT, "listeners", f"ss does not answer: {error}")
        return
    for port, (program, why) in WANTED.items():
        holder = there.get(port)
        if holder is None:
            yield Finding(
                SUBJECT, str(port), State.BAD, "nobody listens", why, f"systemctl restart {_UNITS[program]}"
            )
        elif holder and holder != program:
            yield Finding(
                SUBJECT, str(port), State.BAD, f"{holder} has it", why,
                f"stop {holder}, then systemctl restart {_UNITS[program]}",
            )  # fmt: skip
        else:
            yield good(SUBJECT, str(port), holder or "somebody listens; only root sees who")


_UNITS = {"master": "postfix@-", "nginx": "nginx", "dovecot": "dovecot"}
