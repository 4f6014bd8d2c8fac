"""`chatmailctl doctor` on a real relay: no finding on a sound one, and its advice repairs a broken one."""

from __future__ import annotations

from tests.chat import relay
from tests.lab.host import LabHost

SUBJECTS = ("services", "store", "ports", "sockets", "certificates")


def found(host: LabHost, *subjects: str) -> tuple[int, dict[str, dict[str, str]]]:
    """Exit status, and what is not good, by what it is."""
    words = [word for subject in subjects for word in ("--only", subject)]
    status, findings = relay.asked(host, "doctor", *words)
    assert {one["subject"] for one in findings} == set(subjects)
    return status, {one["what"]: one for one in findings if one["state"] != "good"}


def test_a_sound_relay_has_nothing_to_mend(a: LabHost) -> None:
    assert found(a, *SUBJECTS) == (0, {})


def test_its_records_are_published(a: LabHost) -> None:
    _, wrong = found(a, "dns")
    assert all(what.endswith(" PTR") for what in wrong), wrong


def test_its_advice_starts_what_was_stopped(a: LabHost) -> None:
    # A timer: nobody's question starts it meanwhile.
    a.run("systemctl stop chatmail-expire.timer")
    status, wrong = found(a, "services")
    assert status == 1
    assert [*wrong] == ["chatmail-expire.timer"]
    a.run(wrong["chatmail-expire.timer"]["mend"])
    assert found(a, "services") == (0, {})


def test_a_socket_that_is_open_to_all_is_found(a: LabHost) -> None:
    place = "/run/dovecot"
    mode = a.run(f"stat -c %a {place}").stdout.strip()
    bind = f'import socket; socket.socket(socket.AF_UNIX).bind("{place}/x")'
    try:
        a.run(f"chmod 755 {place} && python3 -c '{bind}' && chmod 666 {place}/x")
        status, wrong = found(a, "sockets")
        assert status == 1
        assert f"{place}/x" in wrong
    finally:
        a.run(f"rm {place}/x; chmod {mode} {place}")
