"""Each row of the table of promised verdicts, in its three columns, without Postfix."""

from __future__ import annotations

import io

import pytest

from chatmail_milter.gate.gate import Direction, Envelope, check
from chatmail_milter.gate.message import read
from chatmail_milter.milter.transaction import RuleSettings, Transaction
from chatmail_milter.rules.policy import OPEN
from tests.messages import ALICE, BOB
from tests.rows import AUTHOR, ROWS, VerdictRow

rows = pytest.mark.parametrize("row", ROWS, ids=str)


def submitted(message: bytes, recipient: str) -> int:
    opened = read(io.BytesIO(message))
    transaction = Transaction(RuleSettings("mx.a.example", False), Direction.OUT, None, ALICE, OPEN)
    transaction.recipient(recipient)
    transaction.fields((name.decode("latin-1"), b" " + value) for name, value in opened.fields)
    transaction.end_of_header()
    for chunk in opened.body:
        transaction.body(chunk)
    return transaction.decide().verdict.code


@rows
def test_submitted_to_another(row: VerdictRow) -> None:
    assert submitted(row.build(), BOB) == row.to_bob


@rows
def test_submitted_to_oneself(row: VerdictRow) -> None:
    assert submitted(row.build(), ALICE) == row.to_self


@rows
def test_coming_in(row: VerdictRow) -> None:
    assert check(Direction.IN, Envelope(row.peer_sender, (BOB,)), row.build()).code == row.incoming


def test_a_report_is_not_for_users_to_send() -> None:
    report = next(row for row in ROWS if row.to_bob == AUTHOR)
    assert check(Direction.OUT, Envelope(ALICE, (BOB,)), report.build()).code == 523


def test_the_reply_is_what_clients_look_for() -> None:
    verdict = check(Direction.IN, Envelope(ALICE, (BOB,)), ROWS[10].build())
    assert verdict.reply == "523 5.7.1 Encryption Needed: Invalid Unencrypted Mail"
