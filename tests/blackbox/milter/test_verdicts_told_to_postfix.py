"""Each promised verdict (docs/gate.md, 3), for each way in, as the installed milter replies to Postfix."""

from __future__ import annotations

import itertools

import pytest

from tests.blackbox.milter.installed_milter import (
    CLEAR,
    CLEARTEXT,
    GOOD,
    InstalledMilter,
    code,
    signed,
    told,
)
from tests.messages import ALICE, BOB
from tests.milter_client import MilterClient
from tests.rows import AUTHOR, ROWS, VerdictRow

rows = pytest.mark.parametrize("row", ROWS, ids=str)


@rows
def test_the_promised_verdicts_on_submission(milter: InstalledMilter, row: VerdictRow) -> None:
    message = row.build()
    answer = milter.submit(message)
    assert code(answer) == row.to_bob
    if row.to_bob == AUTHOR:
        assert answer.reply == f"500 5.7.1 Invalid FROM <{row.author}> for <{ALICE}>"
    assert code(milter.submit(message, ALICE, ALICE)) == row.to_self


@rows
@pytest.mark.parametrize("road", ["smtp", "mxdeliv"])
def test_the_promised_verdicts_on_mail_coming_in(milter: InstalledMilter, row: VerdictRow, road: str) -> None:
    domain = row.author.rpartition("@")[2]
    answer = milter.take(row.build(), row.peer_sender, signed(domain), road=road)
    assert code(answer) == row.incoming
    assert answer.changed == ()


def _broken_off(client: MilterClient) -> None:
    """Begins messages, and ends none of them."""
    from_eve = [(b"From", b"eve@c.example")]
    client.send(b"A")
    client.envelope("eve@c.example", [])
    client.send(b"A")
    client.envelope("eve@c.example", [ALICE])
    client.send(b"A")
    client.envelope("eve@c.example", [ALICE])
    client.send(b"L", b"From\0eve@c.example\0")
    client.send(b"A")
    client.envelope("eve@c.example", [ALICE])
    client.header(from_eve)
    client.body(CLEAR, 5)
    client.send(b"A")


@pytest.mark.parametrize("road", ["submission", "smtp", "mxdeliv"])
def test_one_after_the_other_on_one_connection_in_odd_chunks(milter: InstalledMilter, road: str) -> None:
    sizes = itertools.cycle((1, 2, 3, 7, 61, 1021, 65535))
    with MilterClient(milter.path) as client:
        client.connect(road)
        for row in ROWS:
            message, sender, wanted = row.build(), ALICE, row.to_bob
            if road != "submission":
                results = told(signed(row.author.rpartition("@")[2]))
                message, sender, wanted = results + message, row.peer_sender, row.incoming
            chunk = max(next(sizes), len(message) // 10_000)
            assert code(client.message(sender, [BOB], message, chunk)) == wanted, row.name
            _broken_off(client)


@pytest.mark.parametrize("chunk", [1, 7, 65535])
def test_chunks_do_not_matter(milter: InstalledMilter, chunk: int) -> None:
    assert milter.take(GOOD, ALICE, signed(), chunk=chunk).reply == "continue"
    assert milter.take(GOOD + b"Hello", ALICE, signed(), chunk=chunk).reply == CLEARTEXT
