"""Stock services and nft have no more privileges than they need, as systemd and the kernel report them."""

from __future__ import annotations

import re

import pytest

from tests.lab.host import LabHost
from tests.lab.plan import BY_NAME

# The most that `systemd-analyze security` may say of each, times ten; Debian's units have 85 to 96. And the
# capabilities that it keeps (capabilities(7)), in the order of their numbers.
MASTER = "chown dac_override fowner kill setgid setuid net_bind_service sys_chroot"
POSTFIX = BY_NAME["a"].postfix
UNITS = {
    "unbound": (30, "setgid setuid net_bind_service"),
    "opendkim": (15, ""),
    "dovecot": (35, MASTER),
    # Debian 13's unit has one more, which dac_override includes.
    POSTFIX: (35, MASTER if POSTFIX != "postfix" else MASTER.replace(" fowner", " dac_read_search fowner")),
    "nginx": (30, "chown kill setgid setuid net_bind_service"),
    "coturn": (15, ""),
}
# These run nft and end.
PACKET_FILTERS = ("chatmail-loopback", "chatmail-limits", "chatmail-limits-kept")
# The admin pages, and root's program that executes their orders, an instance for each.
ADMIN = {"chatmail-admin": 10, "chatmail-orders@*": 35}
# The program that gives coturn the secrets, and ends.
CALLS = {"chatmail-turn-secrets": 5}
# Off by default, as the admin pages.
WEBIMAP = {"chatmail-webimap": 15}
# It has the servers read a new certificate, and ends.
CERTIFICATE = {"chatmail-certificate": 15}
# root's program that collects the metrics, and ends.
METRICS = {"chatmail-metrics": 20}
BOUNDS = {unit: bound for unit, (bound, _) in UNITS.items()} | dict.fromkeys(PACKET_FILTERS, 20)
BOUNDS |= ADMIN | METRICS | CALLS | WEBIMAP | CERTIFICATE
SHOWQ_OF_METRICS = ("chatmail-metrics.service", "postfix/showq")
NUMBERS = {
    "chown": 0, "dac_override": 1, "dac_read_search": 2, "fowner": 3, "kill": 5, "setgid": 6, "setuid": 7,
    "net_bind_service": 10, "sys_chroot": 18,
}  # fmt: skip


@pytest.mark.parametrize("unit", BOUNDS)
def test_exposure_is_under_its_bound(a: LabHost, unit: str) -> None:
    instance = unit.replace("*", "x")
    said = a.run(
        ["systemd-analyze", "security", f"--threshold={BOUNDS[unit]}", "--no-pager", instance], check=False
    )
    assert said.returncode == 0, said.stdout[-2000:]


@pytest.mark.parametrize("unit", UNITS)
def test_what_runs_is_confined(a: LabHost, unit: str) -> None:
    """A drop-in that came after the start is in systemd's mind only."""
    pid = a.run(["systemctl", "show", "--property=MainPID", "--value", unit]).stdout.strip()
    status = dict(re.findall(r"^(\w+):\t(.*)$", a.run(["cat", f"/proc/{pid}/status"]).stdout, re.MULTILINE))
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert int(status["CapBnd"], 16) == sum(1 << NUMBERS[name] for name in UNITS[unit][1].split())


@pytest.mark.parametrize("unit", UNITS)
def test_system_and_others_data_are_out_of_reach(a: LabHost, unit: str) -> None:
    """In the mount namespace of the running service, as root with all rights."""
    pid = a.run(["systemctl", "show", "--property=MainPID", "--value", unit]).stdout.strip()
    inside = f"nsenter --target={pid} --mount"
    assert "Read-only" in a.run(f"{inside} touch /usr/chatmail-probe", check=False).stderr
    assert "Read-only" in a.run(f"{inside} touch /etc/chatmail-probe", check=False).stderr
    assert a.run(f"{inside} ls -A /home /root", check=False).stdout.split() in ([], ["/home:", "/root:"])
    if unit != "dovecot":
        assert a.run(f"{inside} ls -A /var/vmail /var/lib/chatmail").stdout.split() == [
            "/var/lib/chatmail:",
            "/var/vmail:",
        ]


def test_nothing_was_refused_to_them(a: LabHost) -> None:
    """What they may not do they need not do: nothing in their logs since this boot complains."""
    said = [
        f"{one.get('SYSLOG_IDENTIFIER')}: {one['MESSAGE']}"
        for one in a.journal("--boot", *(f"--unit={unit}" for unit in BOUNDS))
        # While Postfix restarts, postqueue starts showq itself. The metrics then do without the queue.
        if (one.get("_SYSTEMD_UNIT"), one.get("SYSLOG_IDENTIFIER")) != SHOWQ_OF_METRICS
    ]
    assert said
    complaints = ("Permission denied", "Operation not permitted", "Read-only file system")
    assert [line for line in said if any(word in line for word in complaints)] == []
