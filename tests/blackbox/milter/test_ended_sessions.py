"""The milter ends SMTP sessions that began before their account was deleted or got a new password."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chatmail_milter.store.accounts import Accounts
from chatmail_milter.store.reserved_names import ReservedNames
from chatmail_milter.store.revision import wait_for_caches_to_expire
from tests.blackbox.milter.installed_milter import GOOD, InstalledMilter, running, signed, told
from tests.messages import ALICE, BOB
from tests.milter_client import MilterAnswer, MilterClient, fields

OVER = "421 4.7.0 Your account or its password has changed, log in again"
STORE_AWAY = "451 4.3.0 Policy can't be read, try again later"
PASSES = MilterAnswer("continue")
CAROL = "carol123@a.example"

Change = Callable[[Accounts], None]


@pytest.fixture(scope="module", autouse=True)
def key(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    file = tmp_path_factory.mktemp("key") / "names.key"
    file.write_text("6e" * 32)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("CHATMAIL_NAMES_KEY", str(file))
        yield file


@pytest.fixture(scope="module")
def milter(key: Path) -> Iterator[InstalledMilter]:
    with running(CHATMAIL_NAMES_KEY=str(key)) as milter:
        yield milter


@pytest.fixture
def accounts(milter: InstalledMilter) -> Iterator[Accounts]:
    """Alice and Carol have one."""
    engine = milter.engine()
    accounts = Accounts(engine, names=ReservedNames(0))
    for one in (ALICE, CAROL):
        accounts.create(one, "{X}first")
    yield accounts
    engine.dispose()


def password(accounts: Accounts) -> None:
    assert accounts.set_password(ALICE, "{X}second")


def deleted(accounts: Accounts) -> None:
    assert accounts.delete(ALICE)
    wait_for_caches_to_expire()


def another_owner(accounts: Accounts) -> None:
    deleted(accounts)
    assert accounts.create(ALICE, "{X}another")


changes = pytest.mark.parametrize("change", [password, deleted, another_owner])


@pytest.fixture
def client(milter: InstalledMilter) -> Iterator[MilterClient]:
    with MilterClient(milter.path) as client:
        client.connect("submission")
        yield client


@changes
def test_it_ends_at_the_next_recipient(
    milter: InstalledMilter, accounts: Accounts, client: MilterClient, change: Change
) -> None:
    assert client.message(ALICE, [BOB], GOOD) == PASSES
    change(accounts)
    for _ in range(2):
        assert client.message(ALICE, [BOB], GOOD) == MilterAnswer(OVER, at="recipient")
    assert "reason=login-over" in milter.log
    # Who logs in from now on sends.
    assert milter.submit() == PASSES


@changes
def test_it_ends_though_nothing_was_sent_before(
    accounts: Accounts, client: MilterClient, change: Change
) -> None:
    change(accounts)
    assert client.message(ALICE, [BOB], GOOD) == MilterAnswer(OVER, at="recipient")


@changes
def test_a_message_that_was_on_its_way_is_not_taken(
    accounts: Accounts, client: MilterClient, change: Change
) -> None:
    header, _, body = GOOD.partition(b"\r\n\r\n")
    assert client.envelope(ALICE, [BOB]) == ["continue"]
    client.header(fields(header, as_they_are=True))
    client.body(body[:100])
    change(accounts)
    client.body(body[100:])
    assert client.end() == MilterAnswer(OVER)


@changes
def test_others_go_on(accounts: Accounts, milter: InstalledMilter, change: Change) -> None:
    with MilterClient(milter.path) as carol, MilterClient(milter.path) as peer:
        carol.connect("submission")
        peer.connect("smtp")
        change(accounts)
        message = GOOD.replace(b"<alice@a.example>", f"<{CAROL}>".encode(), 1)
        assert carol.message(CAROL, [BOB], message) == PASSES
        # A peer's mail, though it says that it is from her: she did not log in there.
        assert peer.message(ALICE, [BOB], told(signed("a.example")) + GOOD) == PASSES


def test_without_the_key_nobody_sends_once_a_login_is_over(tmp_path: Path) -> None:
    with running(CHATMAIL_NAMES_KEY=str(tmp_path / "missing")) as milter:
        assert milter.submit() == PASSES
        with MilterClient(milter.path) as client:
            accounts = Accounts(milter.engine())
            accounts.create(CAROL, "{X}")
            assert accounts.set_password(CAROL, "{X}second")
            client.connect("submission")
            assert client.message(ALICE, [BOB], GOOD) == MilterAnswer(STORE_AWAY, at="recipient")
            assert "store=away fault=StoreError" in milter.log
