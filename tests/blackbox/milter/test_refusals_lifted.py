"""An accepted message from a peer ends the stored refusal of its author; a refused message does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from chatmail_milter.store.refusals import Refusal, Refusals
from tests.blackbox.milter.installed_milter import CLEAR, GOOD, InstalledMilter, code, running, signed
from tests.chat.deadline import until
from tests.messages import ALICE

KEY = b"6b" * 32
UNKNOWN = Refusal(550, "5.1.1", "User unknown")


@pytest.fixture
def key(tmp_path: Path) -> Path:
    file = tmp_path / "store.key"
    file.write_bytes(KEY)
    return file


def known(milter: InstalledMilter) -> Refusals:
    """As the relay has them."""
    refusals = Refusals(milter.engine(), KEY)
    refusals.remember(ALICE, UNKNOWN)
    return refusals


def test_accepted_mail_ends_it(key: Path) -> None:
    with running(processes=1, CHATMAIL_STORE_KEY=str(key)) as milter:
        # Before there is anything to forget, and after.
        assert code(milter.take(GOOD, ALICE, signed())) == 250
        refusals = known(milter)
        assert refusals.of(ALICE) == UNKNOWN

        # The milter knows of a refusal of another process no sooner than after `store.revision.LEASE`.
        def ended() -> bool:
            assert code(milter.take(GOOD, "bounces@elsewhere.example", signed())) == 250
            return refusals.of(ALICE) is None

        until("the refusal ends", ended, 10, every=0.02)


def test_refused_mail_and_that_of_our_users_do_not(key: Path) -> None:
    with running(processes=1, CHATMAIL_STORE_KEY=str(key)) as milter:
        refusals = known(milter)
        assert code(milter.take(GOOD, ALICE)) == 554
        assert code(milter.take(GOOD, ALICE, signed(result="fail"))) == 554
        assert code(milter.take(CLEAR, ALICE, signed())) == 523
        assert code(milter.submit()) == 250
        assert refusals.of(ALICE) == UNKNOWN


def test_without_a_key_or_a_table_mail_comes_in_all_the_same() -> None:
    with running(processes=1, CHATMAIL_STORE_KEY="/nowhere") as milter:
        assert code(milter.take(GOOD, ALICE, signed())) == 250
        with milter.engine().begin() as connection:
            connection.exec_driver_sql("DROP TABLE recipient_refusals")

        def said() -> bool:
            assert code(milter.take(GOOD, ALICE, signed())) == 250
            return "refusals=away fault=OperationalError" in milter.log

        until("it looks again", said, 10, every=0.02)
