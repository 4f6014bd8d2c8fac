"""Each command of docs/troubleshooting.md on a relay with a message that waits for a peer."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.chat import firewall, pgp, relay, smtp
from tests.chat.deadline import until
from tests.e2e.conftest import Login
from tests.lab.host import LabHost
from tests.lab.plan import REPOSITORY

PEER = "mta.lab"
PAGE = (REPOSITORY / "docs/troubleshooting.md").read_text("utf-8")
COMMANDS = [
    command
    for block in re.findall(r"^```\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    for command in re.findall(r"^# (.+)$", block, re.MULTILINE)
]
# `doctor` and `dns` may find that a record is missing (1), or that a lookup fails (3). `mta.lab` has no
# HTTPS, so that one road of the probe fails (1).
STATUSES = {"chatmailctl doctor": {0, 1, 3}, "chatmailctl dns": {0, 1, 3}, "chatmailctl probe": {0, 1}}


@pytest.fixture(scope="module")
def waiting(a: LabHost, mta: LabHost, writer: Login) -> Iterator[str]:
    """The sender of a message that waits for a peer without SMTP."""
    relay.forget_endpoints(a)
    with firewall.closed(mta, 25, "refuse"):
        message = pgp.encrypted(writer[0], f"carol@{PEER}", pgp.message_id())
        assert smtp.submit(a.ip, writer, [f"carol@{PEER}"], message).code == 250
        until(
            "it waits",
            lambda: any(
                PEER in row["domains"] and row["queue"] == "deferred" for row in relay.ctl(a, "queue")
            ),
            20,
        )
        yield writer[0]
    relay.forget_endpoints(a)


def test_the_page_has_commands() -> None:
    assert len(COMMANDS) > 30
    assert len({command.split()[1] for command in COMMANDS if command.startswith("chatmailctl ")}) > 10


def test_each_command_does_what_it_should(a: LabHost, waiting: str) -> None:
    for command in COMMANDS:
        for name, value in (("ADDRESS", waiting), ("DOMAIN", PEER), ("WORD", "dkim-none")):
            command = command.replace(name, value)
        done = a.run(command, check=False)
        allowed = STATUSES.get(" ".join(command.split()[:2]), {0})
        assert done.returncode in allowed, (command, done.returncode, done.stdout, done.stderr)
