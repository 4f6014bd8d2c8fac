"""Every promised verdict (docs/gate.md, 3) by `chatmailctl gate check`."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from chatmail_milter.ctl.gate import gate
from tests.messages import ALICE, BOB
from tests.rows import AUTHOR, PASS, ROWS, VerdictRow

# The one of 30 MB costs three seconds here: the gate, the milter and both relays are asked of it elsewhere.
rows = pytest.mark.parametrize("row", [row for row in ROWS if "30 MB" not in row.name], ids=str)


def asked(message: bytes, *arguments: str) -> int:
    """The code of the reply; the exit status says the same."""
    done = CliRunner().invoke(gate, ["check", "--json", *arguments], input=message)
    code: int = json.loads(done.stdout)["code"]
    assert done.exit_code == (0 if code == PASS else 1)
    return code


@rows
def test_the_promised_verdicts(row: VerdictRow) -> None:
    message = row.build()
    assert asked(message, "--sender", ALICE, "--recipient", BOB) == row.to_bob
    assert asked(message, "--sender", ALICE, "--recipient", ALICE) == row.to_self
    sender = row.peer_sender or "<>"
    assert asked(message, "--direction", "in", "--sender", sender, "--recipient", BOB) == row.incoming


def test_both_directions_have_rows_that_pass_and_that_do_not() -> None:
    assert {row.incoming for row in ROWS} == {250, 523}
    assert {row.to_bob for row in ROWS} == {250, 523, AUTHOR}
