"""Quotas of single accounts: stored, passed to Dovecot, set by the operator, deleted with the account."""

from __future__ import annotations

from pathlib import Path

import pytest

from chatmail_milter.store.accounts import Accounts
from chatmail_milter.store.engine import open_store
from tests.unit.chatmailctl import rows, run

ALICE, BOB = "alice123@a.test", "bob12345@a.test"


@pytest.fixture(autouse=True)
def accounts(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Accounts:
    monkeypatch.setenv("CHATMAIL_DOVEADM", str(tmp_path / "no-doveadm"))
    accounts = Accounts(open_store(store))
    for address in (ALICE, BOB):
        accounts.create(address, "{X}")
    return accounts


def own(accounts: Accounts, address: str = ALICE) -> int | None:
    account = accounts.lookup(address)
    assert account is not None
    return account.quota


def test_one_account_has_its_own_and_the_others_have_everybodys(accounts: Accounts) -> None:
    assert own(accounts) is None
    assert accounts.set_quota(ALICE, 10**13)
    assert accounts.set_quota(ALICE, 10**12)
    assert (own(accounts), own(accounts, BOB)) == (10**12, None)
    assert accounts.set_quota(ALICE, None)
    assert accounts.set_quota(BOB, None)
    assert own(accounts) is None


def test_it_goes_with_the_account(accounts: Accounts) -> None:
    accounts.set_quota(ALICE, 5)
    assert accounts.delete(ALICE)
    accounts.create(ALICE, "{Y}", reuse=True)
    assert own(accounts) is None


def test_nobody_without_an_account_has_one(accounts: Accounts) -> None:
    assert not accounts.set_quota("nobody12@a.test", 5)
    assert accounts.lookup("nobody12@a.test") is None


class TestCommand:
    def test_sets_shows_and_takes_back(self, accounts: Accounts) -> None:
        assert rows("account", "quota", ALICE) == {"quota": 500_000_000, "own": False, "used": None}
        assert run("account", "quota", "Alice123@a.test", "2GB").exit_code == 0
        assert own(accounts) == 2_000_000_000
        assert run("account", "quota", ALICE).output.startswith("2 GB, its own; ")
        assert rows("account", "quota", ALICE, "1MiB")["quota"] == 1 << 20
        assert run("account", "quota", ALICE, "default").exit_code == 0
        assert own(accounts) is None
        assert "the default" in run("account", "quota", ALICE).output

    @pytest.mark.parametrize("size", ["5", "many", "0B", "0.1B", "-1GB", "1 parsec", "", "Default"])
    def test_refuses_what_is_no_size(self, accounts: Accounts, size: str) -> None:
        result = run("account", "quota", ALICE, size)
        assert result.exit_code == 2
        assert "`default`" in result.output or "No such option" in result.output
        assert own(accounts) is None

    def test_knows_who_has_no_account(self) -> None:
        result = run("account", "quota", "nobody12@a.test", "1GB")
        assert result.exit_code == 1
        assert "there is no account" in result.output

    def test_says_how_much_is_used_where_dovecot_does(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        program = tmp_path / "doveadm"
        program.write_text(
            "#!/bin/sh\nprintf 'Username\\tQuota name\\tType\\tValue\\tLimit\\t%%\\n'\n"
            f"printf '{ALICE}\\tUser quota\\tSTORAGE\\t100000\\t488282\\t20\\n'\n"
        )
        program.chmod(0o755)
        monkeypatch.setenv("CHATMAIL_DOVEADM", str(program))
        assert rows("account", "quota", ALICE)["used"] == 102_400_000
        assert "102 MB used, 20 %" in run("account", "quota", ALICE).output
