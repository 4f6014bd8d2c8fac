"""Checks that running services are of the installed versions: without a restart, the old code runs."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from chatmail_milter.doctor import Finding, FindingState, good, unknown

SUBJECT = "versions"
OURS = "chatmail-milter"
# Patterns of units, and the package that each is of. nginx is not here: it replaces its program without a
# restart of the unit.
PACKAGES = {
    "chatmail-*.service": OURS,
    "mxdeliv-*.service": OURS,
    "postfix@-.service": "postfix",
    "postfix.service": "postfix",
    "dovecot.service": "dovecot-core",
    "opendkim.service": "opendkim",
    "unbound.service": "unbound",
}
_INFO = Path("/var/lib/dpkg/info")

# The properties of the running units of a pattern.
Show = Callable[[str], list[Mapping[str, str]]]
# Version of an installed package, and when it was unpacked; None if it is not installed.
Installed = Callable[[str], "tuple[str, datetime] | None"]


def show(pattern: str) -> list[Mapping[str, str]]:
    """Asks systemd. Raises `OSError` or `subprocess.SubprocessError`."""
    said = subprocess.run(  # noqa: S603  (our own pattern, no shell)
        [
            "/usr/bin/systemctl", "show", "--timestamp=unix",
            "--property=Id,ActiveState,SubState,ActiveEnterTimestamp", "--", pattern,
        ],
        capture_output=True, text=True, check=True, timeout=20,
    ).stdout  # fmt: skip
    blocks = [block for block in said.strip().split("\n\n") if block]
    return [dict(line.split("=", 1) for line in block.splitlines()) for block in blocks]


def installed(package: str) -> tuple[str, datetime] | None:
    """Asks dpkg. Raises `OSError` or `subprocess.SubprocessError`."""
    said = subprocess.run(  # noqa: S603  (our own names, no shell)
        ["/usr/bin/dpkg-query", "--show", "--showformat=${db:Status-Status} ${Version}", package],
        capture_output=True, text=True, check=False, timeout=20,
    ).stdout  # fmt: skip
    status, _, version = said.partition(" ")
    if status != "installed":
        return None
    # dpkg writes it whenever it unpacks the package.
    return version, datetime.fromtimestamp((_INFO / f"{package}.list").stat().st_mtime, UTC)


def check(show: Show = show, installed: Installed = installed) -> Iterator[Finding]:
    """Checks each running service of ours, and Debian's."""
    packages: dict[str, list[Mapping[str, str]]] = {}
    try:
        for pattern, package in PACKAGES.items():
            packages.setdefault(package, []).extend(show(pattern))
        for package, units in packages.items():
            found = installed(package)
            if found is not None:
                yield from _of(package, *found, units)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        yield unknown(SUBJECT, "all", f"systemctl or dpkg does not answer: {error}")


def _of(
    package: str, version: str, unpacked: datetime, units: Sequence[Mapping[str, str]]
) -> Iterator[Finding]:
    old = sorted(unit["Id"] for unit in units if _is_older(unit, unpacked))
    if not old:
        yield good(SUBJECT, package, version)
        return
    names = " ".join(old)
    yield Finding(
        SUBJECT, package, FindingState.SOON, f"{version} is installed, but an earlier one runs: {names}",
        "what the update mends is not in force", f"systemctl restart {names}",
    )  # fmt: skip


def _is_older(unit: Mapping[str, str], unpacked: datetime) -> bool:
    """Whether the unit runs since before the package was unpacked. `exited`: it runs nothing."""
    since = unit.get("ActiveEnterTimestamp", "").lstrip("@")
    return (
        unit.get("ActiveState") == "active"
        and unit.get("SubState") == "running"
        and bool(since)
        and int(since) < int(unpacked.timestamp())
    )
