"""Checks that the services are running, by `systemctl show`, which answers even for missing units."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence

from chatmail_milter.doctor import Finding, FindingState, good, unknown

SUBJECT = "services"
OURS = "chatmail.target"
# In Debian 12, postfix.service starts an instance, which is Postfix. In Debian 13 it is Postfix itself, and
# conflicts with the instance.
INSTANCE, POSTFIX = "postfix@-.service", "postfix.service"
# Debian's, without which no mail goes anywhere.
STOCK = {
    INSTANCE: "no mail is received or sent",
    "dovecot.service": "nobody can log in or read mail",
    "nginx.service": "peers must use SMTP, and apps can't create accounts",
    "opendkim.service": "no message is accepted",
    "unbound.service": "peers and DKIM keys can't be looked up",
}
_WHY_OURS = {
    "chatmail-admin": "the admin pages don't answer",
    "chatmail-metrics": "Prometheus gets old figures",
    "chatmail-orders": "the admin pages don't show the queue, and can't change anything",
    "chatmail-milter": "no message is accepted",
    "chatmail-hooks": "nobody can log in, and mail waits in the queue",
    "chatmail-push": "phones are not notified of new mail",
    "chatmail-recipients": "unknown recipients are refused slowly, and without a limit",
    "chatmail-resolver": "DKIM keys can't be looked up, and mail from peers waits",
    "chatmail-webimap": "web clients can't read or send mail",
    "chatmail-wake": "idling apps learn of new mail late",
    "mxdeliv-app": "peers must use SMTP, and apps can't create accounts",
    "mxdeliv-relay": "mail to other relays waits in the queue",
}
# Where the relay has a TURN server.
CALLS = {
    "coturn.service": "users behind firewalls can't call",
    "chatmail-turn-secrets.timer": "secrets that were replaced stay valid",
}
_PROPERTIES = (
    "Id",
    "LoadState",
    "ActiveState",
    "SubState",
    "UnitFileState",
    "NRestarts",
    "Wants",
    "Conflicts",
)

# By the name of Postfix's unit in either release.
_STOCK = STOCK | {POSTFIX: STOCK[INSTANCE]}

# What `systemctl show` says of units: one mapping of properties each, in the order of the units.
Show = Callable[[Sequence[str]], list[Mapping[str, str]]]


def show(units: Sequence[str]) -> list[Mapping[str, str]]:
    """Asks systemd. Raises `OSError` or `subprocess.SubprocessError` if there is none."""
    properties = ",".join(_PROPERTIES)
    said = subprocess.run(  # noqa: S603  (names of units, no shell)
        ["/usr/bin/systemctl", "show", f"--property={properties}", "--", *units],
        capture_output=True, text=True, check=True, timeout=20,
    ).stdout  # fmt: skip
    return [dict(line.split("=", 1) for line in block.splitlines()) for block in said.strip().split("\n\n")]


def check(show: Show = show, *, calls: bool = False) -> Iterator[Finding]:
    """Checks each unit that `chatmail.target` wants, and Debian's. `calls`: also the TURN server's."""
    try:
        target, postfix = show([OURS, POSTFIX])
        ours = sorted(target.get("Wants", "").split())
        is_instance = INSTANCE not in postfix.get("Conflicts", "").split()
        stock = [POSTFIX if unit == INSTANCE and not is_instance else unit for unit in STOCK]
        units = show([*ours, *stock, *(CALLS if calls else ())])
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        yield unknown(SUBJECT, "systemd", f"systemctl does not answer: {error}")
        return
    if target.get("LoadState") != "loaded" or not ours:
        yield Finding(
            SUBJECT,
            OURS,
            FindingState.BAD,
            "is not installed",
            "no program of the relay is started",
            "run the playbook",
        )
    for unit in units:
        yield _of(unit)


def _of(unit: Mapping[str, str]) -> Finding:
    name = unit["Id"]
    active = unit.get("ActiveState", "")
    if active == "active":
        restarts = int(unit.get("NRestarts") or 0)
        return good(SUBJECT, name, "is running" + (f", was restarted {restarts} times" if restarts else ""))
    stem = name.rpartition(".")[0]
    why = _STOCK.get(name) or CALLS.get(name) or _WHY_OURS.get(stem, "a part of the relay does not work")
    if unit.get("LoadState") == "not-found":
        return Finding(SUBJECT, name, FindingState.BAD, "is not installed", why, "run the playbook")
    # Ours are all started with the target: somebody stopped it.
    if active == "inactive" and name not in _STOCK:
        return Finding(SUBJECT, name, FindingState.BAD, "is stopped", why, f"systemctl start {name}")
    found = f"is {active} ({unit.get('SubState', '')})"
    return Finding(
        SUBJECT,
        name,
        FindingState.BAD,
        found,
        why,
        f"journalctl -u {name} -n 50, then systemctl restart {name}",
    )
