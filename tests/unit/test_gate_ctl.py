"""`chatmailctl gate check`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from chatmail_milter.ctl.gate import gate
from tests import messages, packets
from tests.messages import ALICE, BOB

GOOD = messages.sealed(packets.pkesk() + packets.seipd())


def check(message: bytes, *arguments: str) -> Result:
    return CliRunner().invoke(gate, ["check", *arguments, "-"], input=message)


@pytest.mark.parametrize(
    ("message", "arguments", "said"),
    [
        (GOOD, (), ("pass", 250, "OK", "encrypted")),
        (GOOD.replace(b"\r\n", b"\n"), ("--direction", "in"), ("pass", 250, "OK", "encrypted")),
        (GOOD, ("--sender", BOB), ("reject", 500, f"Invalid FROM <{ALICE}> for <{BOB}>", "from-mismatch")),
        (GOOD, ("--sender", "Alice@A.example"), ("pass", 250, "OK", "encrypted")),
        (
            messages.text(),
            ("--direction", "in"),
            ("reject", 523, "Encryption Needed: Invalid Unencrypted Mail", "not-encrypted"),
        ),
        (messages.report(), ("--direction", "in", "--sender", "<>"), ("pass", 250, "OK", "report")),
        (
            messages.setup_message(),
            ("--sender", ALICE, "--recipient", ALICE),
            ("pass", 250, "OK", "setup-message"),
        ),
        (
            messages.setup_message(),
            ("--recipient", ALICE, "--recipient", BOB),
            ("reject", 523, "Encryption Needed: Invalid Unencrypted Mail", "not-encrypted"),
        ),
        (b"", (), ("reject", 500, "Invalid FROM <> for <>", "from-mismatch")),
    ],
)
def test_says_which_rule_decided(
    message: bytes, arguments: tuple[str, ...], said: tuple[str, int, str, str]
) -> None:
    result = check(message, "--json", *arguments)
    assert json.loads(result.stdout) == dict(zip(("verdict", "code", "text", "reason"), said, strict=True))
    assert result.exit_code == (0 if said[0] == "pass" else 1)


def test_says_it_to_people_too(tmp_path: Path) -> None:
    path = tmp_path / "message"
    path.write_bytes(messages.text())
    result = CliRunner().invoke(gate, ["check", str(path)])
    assert result.stdout == "reject: 523 5.7.1 Encryption Needed: Invalid Unencrypted Mail (not-encrypted)\n"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["/no/such/file"],
        ["-", "--direction", "sideways"],
        ["-", "--sender", "alice"],
        ["-", "--recipient", "a b@c"],
        ["-", "--unknown"],
    ],
)
def test_wrong_usage_is_status_2(arguments: list[str]) -> None:
    assert CliRunner().invoke(gate, ["check", *arguments]).exit_code == 2
