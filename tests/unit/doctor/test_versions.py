"""`chatmailctl doctor --only versions`: services that run since before their package was updated."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from chatmail_milter.doctor import FindingState, versions
from tests.unit.doctor.found import states

UNPACKED = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
BEFORE, AFTER = UNPACKED - timedelta(hours=1), UNPACKED + timedelta(seconds=3)


def unit(name: str, since: datetime, sub: str = "running") -> Mapping[str, str]:
    active = "inactive" if sub == "dead" else "active"
    return {
        "Id": name, "ActiveState": active, "SubState": sub,
        "ActiveEnterTimestamp": f"@{since.timestamp():.0f}" if sub != "dead" else "",
    }  # fmt: skip


def check(units: dict[str, list[Mapping[str, str]]], *, without: str = "") -> dict[str, FindingState]:
    def installed(package: str) -> tuple[str, datetime] | None:
        return None if package == without else (f"1 of {package}", UNPACKED)

    return states(versions.check(lambda pattern: units.get(pattern, []), installed))


def test_what_was_started_after_its_update_is_good() -> None:
    found = check({
        "chatmail-*.service": [
            unit("chatmail-milter.service", AFTER), unit("chatmail-expire.service", BEFORE, "dead"),
        ],
        "postfix.service": [unit("postfix.service", BEFORE, "exited")],
        "postfix@-.service": [unit("postfix@-.service", AFTER)],
    })  # fmt: skip
    assert found == dict.fromkeys(versions.PACKAGES.values(), FindingState.GOOD)


def test_what_runs_since_before_is_to_be_restarted() -> None:
    units = {
        "chatmail-*.service": [unit("chatmail-push.service", BEFORE), unit("chatmail-milter.service", AFTER)],
        "mxdeliv-*.service": [unit("mxdeliv-relay.service", BEFORE)],
    }
    (bad,) = [
        one
        for one in versions.check(lambda pattern: units.get(pattern, []), lambda _: ("2", UNPACKED))
        if one.state is not FindingState.GOOD
    ]
    assert (bad.what, bad.state) == ("chatmail-milter", FindingState.SOON)
    assert bad.mend == "systemctl restart chatmail-push.service mxdeliv-relay.service"


def test_what_is_not_installed_has_no_version() -> None:
    assert "unbound" not in check({}, without="unbound")


def test_without_systemd_nothing_can_be_said() -> None:
    def away(_pattern: str) -> list[Mapping[str, str]]:
        raise subprocess.TimeoutExpired("systemctl", 20)

    assert states(versions.check(away)) == {"all": FindingState.UNKNOWN}
