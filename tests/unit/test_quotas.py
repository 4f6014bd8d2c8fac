"""Quotas of single accounts: kept, told to Dovecot, set by the operator, and gone with the account."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import delete

from chatmail_milter.store.accounts import Accounts
from chatmail_milter.store.engine import open_store
from chatmail_milter.store.quotas import Quotas
from chatmail_milter.store.tables import accounts as table
from tests.unit.ctl import rows, run

ALICE, BOB = "alice123@a.test", "bob12345@a.test"


@pytest.fixture(autouse=True)
def accounts(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Accounts:
    monkeypatch.setenv("CHATMAIL_DOVEADM", str(tmp_path / "no-doveadm"))
    accounts = Accounts(open_store(store))
    for address in (ALICE, BOB):
        accounts.create(address, "{X}")
    return accounts


def test_one_account_has_its_own_and_the_others_have_everybodys(store: str) -> None:
    quotas = Quotas(open_store(store))
    assert quotas.get(ALICE) is None
    quotas.set(ALICE, 10**13)
    quotas.set(ALICE, 10**12)
    assert (quotas.get(ALICE), quotas.get(BOB)) == (10**12, None)
    quotas.unset(ALICE)
    quotas.unset(BOB)
    assert quotas.get(ALICE) is None


def test_it_goes_with_the_account(store: str, accounts: Accounts) -> None:
    Quotas(open_store(store)).set(ALICE, 5)
    assert accounts.delete(ALICE)
    accounts.create(ALICE, "{Y}", reuse=True)
    assert accounts.quota(ALICE) is None


def test_it_goes_whoever_deletes_the_account_and_by_whichever_connection(store: str) -> None:
    engine = open_store(store)
    Quotas(engine).set(ALICE, 5)
    # One that nobody has used before: the others are taken.
    with engine.connect(), engine.connect(), engine.begin() as third:
        assert third.execute(delete(table)).rowcount == 2
    assert Quotas(engine).list() == {}


def test_nobody_without_an_account_has_one(store: str) -> None:
    quotas = Quotas(open_store(store))
    assert not quotas.set("nobody12@a.test", 5)
    assert quotas.set(ALICE, 5)
    assert quotas.list() == {ALICE: 5}


class TestCommand:
    def test_sets_shows_and_takes_back(self, accounts: Accounts) -> None:
        assert rows("account", "quota", ALICE) == {"quota": 500_000_000, "own": False, "used": None}
        assert run("account", "quota", "Alice123@a.test", "2GB").exit_code == 0
        assert accounts.quota(ALICE) == 2_000_000_000
        assert run("account", "quota", ALICE).output.startswith("2000000000 octets, its own; ")
        assert rows("account", "quota", ALICE, "1MiB")["quota"] == 1 << 20
        assert run("account", "quota", ALICE, "default").exit_code == 0
        assert accounts.quota(ALICE) is None
        assert "the default" in run("account", "quota", ALICE).output

    @pytest.mark.parametrize("size", ["5", "many", "0B", "0.1B", "-1GB", "1 parsec", "", "Default"])
    def test_refuses_what_is_no_size(self, accounts: Accounts, size: str) -> None:
        result = run("account", "quota", ALICE, size)
        assert result.exit_code == 2
        assert "`default`" in result.output or "No such option" in result.output
        assert accounts.quota(ALICE) is None

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
        assert "102400000 used, 20 %" in run("account", "quota", ALICE).output
