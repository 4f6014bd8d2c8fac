"""The relay asks Dovecot whether a local mailbox has room, and reuses a recent answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from chatmail_milter.store.accounts import Account
from mxdeliv_app.relay.queued_message import recipient
from mxdeliv_app.relay.recipient_policy import QuotaStatus

MB = 1_000_000
LARGEST = 10 * MB
ANN = recipient("ann12345@here.test")
FULL = "552 5.2.2 Full"


class Dovecot:
    """A quota-status for one account, whose mailbox has `room`; what was asked; a clock at `now`."""

    def __init__(self, path: Path, room: int) -> None:
        self.room = room
        self.asked: list[int] = []
        self.account: Account | None = Account(ANN.raw, "", date(2026, 1, 1), None)
        self.now = 1000.0
        self.answer: str | None = None
        self.path = str(path / "quota-status")
        self.mailboxes = QuotaStatus(self.path, lambda _address: self.account, LARGEST, lambda: self.now)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        question = dict(line.split("=") for line in (await reader.readuntil(b"\n\n")).decode().split())
        assert (question["protocol_state"], question["recipient"]) == ("RCPT", ANN.raw)
        self.asked.append(int(question["size"]))
        answer = self.answer or ("DUNNO" if int(question["size"]) <= self.room else FULL)
        writer.write(f"action={answer}\n\n".encode())
        writer.close()

    def run(self, *steps: int | Callable[[], object]) -> list[str]:
        """The answers about messages of these sizes, with what is done between them."""

        async def ask() -> list[str]:
            said = []
            async with await asyncio.start_unix_server(self._serve, self.path):
                for step in steps:
                    if isinstance(step, int):
                        said.append(await self.mailboxes.action(ANN, step, "-"))
                    else:
                        step()
            return said

        return asyncio.run(ask())

    def wait(self, seconds: float) -> Callable[[], None]:
        def later() -> None:
            self.now += seconds

        return later


@pytest.fixture
def dovecot(tmp_path: Path) -> Dovecot:
    return Dovecot(tmp_path, room=100 * MB)


def test_who_has_room_for_the_largest_message_is_asked_about_once_a_minute(dovecot: Dovecot) -> None:
    said = dovecot.run(1000, 4 * MB, dovecot.wait(59), 1000, dovecot.wait(2), 1000)
    assert said == ["DUNNO"] * 4
    assert dovecot.asked == [LARGEST, LARGEST]


def test_messages_use_up_what_room_there_was(dovecot: Dovecot) -> None:
    assert dovecot.run(4 * MB, 6 * MB, 1) == ["DUNNO"] * 3
    assert dovecot.asked == [LARGEST, LARGEST]


def test_a_message_of_unknown_size_is_taken_for_one_of_a_mebibyte(dovecot: Dovecot) -> None:
    # Nine of them are in ten megabytes.
    dovecot.run(*[0] * 9)
    assert dovecot.asked == [LARGEST]
    dovecot.run(0)
    assert dovecot.asked == [LARGEST] * 2


def test_where_the_largest_has_no_room_each_is_asked_about(dovecot: Dovecot) -> None:
    dovecot.room = 5 * MB
    assert dovecot.run(5 * MB, 6 * MB) == ["DUNNO", FULL]
    assert dovecot.asked == [LARGEST, 5 * MB, LARGEST, 6 * MB]


def test_another_quota_is_another_question(dovecot: Dovecot) -> None:
    def lower() -> None:
        dovecot.account = Account(ANN.raw, "", date(2026, 1, 1), None, quota=MB)
        dovecot.room = 0

    assert dovecot.run(1000, lower, 1000) == ["DUNNO", FULL]


def test_who_is_gone_is_not_remembered(dovecot: Dovecot) -> None:
    def delete() -> None:
        dovecot.account, dovecot.answer = None, "550 5.1.1 User unknown"

    assert dovecot.run(1000, delete, 1000) == ["DUNNO", "550 5.1.1 User unknown"]
    assert dovecot.asked == [LARGEST, 1000]


def test_what_is_no_answer_is_not_remembered_and_refuses_nothing(dovecot: Dovecot) -> None:
    dovecot.answer = "DEFER_IF_PERMIT Temporary internal error"
    assert dovecot.run(1000, 1000) == ["DUNNO", "DUNNO"]
    assert dovecot.asked == [LARGEST, 1000] * 2


def test_a_size_that_no_message_may_have_is_dovecots_to_refuse(dovecot: Dovecot) -> None:
    assert dovecot.run(1000, 200 * MB) == ["DUNNO", FULL]
    assert dovecot.asked == [LARGEST, 200 * MB]


def test_where_the_store_is_away_dovecot_is_asked(dovecot: Dovecot) -> None:
    def away(_address: str) -> Account | None:
        raise OperationalError("", {}, Exception())

    dovecot.mailboxes = QuotaStatus(dovecot.path, away, LARGEST)
    dovecot.run(1000, 1000)
    assert dovecot.asked == [1000, 1000]
