"""`chatmailctl refusals forget`: the next message to a recipient is tried again."""

from __future__ import annotations

from pathlib import Path

import pytest

from chatmail_milter.store.engine import open_store
from chatmail_milter.store.refusals import Refusal, Refusals
from tests.unit.chatmailctl import run

KEY = b"6b" * 32
CAROL, DAVE, ERIN = "carol123@b.test", "dave1234@b.test", "erin1234@b.test"


@pytest.fixture
def refusals(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Refusals:
    """As the relay has them; three recipients are refused."""
    file = tmp_path / "store.key"
    file.write_bytes(KEY)
    monkeypatch.setenv("CHATMAIL_STORE_KEY", str(file))
    refusals = Refusals(open_store(store), KEY)
    for one in (CAROL, DAVE, ERIN):
        refusals.remember(one, Refusal(550, "5.1.1", "User unknown"))
    return refusals


def test_one_recipient(refusals: Refusals) -> None:
    assert run("refusals", "forget", "Carol123@B.TEST").output == "Forgot 1 refusal.\n"
    assert refusals.of(CAROL) is None
    assert refusals.of(DAVE) is not None
    assert run("refusals", "forget", CAROL).output == "Forgot 0 refusals.\n"


def test_all_of_them(refusals: Refusals) -> None:
    assert run("refusals", "forget", "--all").output == "Forgot 3 refusals.\n"
    assert [refusals.of(one) for one in (CAROL, DAVE, ERIN)] == [None, None, None]


@pytest.mark.parametrize("arguments", [(), (CAROL, "--all"), ("no address",)])
def test_what_is_meant_must_be_said(refusals: Refusals, arguments: tuple[str, ...]) -> None:
    assert run("refusals", "forget", *arguments).exit_code == 2
    assert refusals.of(CAROL) is not None
