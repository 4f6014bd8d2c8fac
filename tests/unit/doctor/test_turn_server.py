"""`doctor` checks the units of the TURN server where apps are told that this host has one."""

from __future__ import annotations

from functools import partial

import pytest

from chatmail_milter import config
from chatmail_milter.ctl import doctor as command
from chatmail_milter.doctor import FindingState, services
from tests.unit.doctor.found import states
from tests.unit.doctor.test_doctor import systemd


@pytest.mark.parametrize("state", ["failed", "inactive", "activating", "absent"])
def test_a_turn_server_that_does_not_run_is_bad_where_there_should_be_one(state: str) -> None:
    assert "coturn.service" not in states(services.check(systemd(coturn=state)))
    found = states(services.check(systemd(coturn=state), calls=True))
    assert [what for what, how in found.items() if how is FindingState.BAD] == ["coturn.service"]


@pytest.mark.parametrize(
    ("settings", "ours"),
    [
        ('mail = { domain = "a.test" }', False),
        ('mail = { domain = "a.test" }\nmetadata = { turn = "a.test:3478" }', True),
        ('mail = { domain = "a.test" }\nmetadata = { turn = "turn.test:3478" }', False),
        (
            'mail = { domain = "a.test", hostname = "[192.0.2.1]" }\nmetadata = { turn = "192.0.2.1:3478" }',
            True,
        ),
    ],
)
def test_a_turn_server_is_looked_for_where_apps_are_told_of_this_host(
    monkeypatch: pytest.MonkeyPatch, settings: str, ours: bool
) -> None:
    monkeypatch.setattr(services, "check", partial(services.check, systemd()))
    found = states(command.CHECKS[services.SUBJECT](config.parse(settings)))
    assert ("coturn.service" in found) is ours
