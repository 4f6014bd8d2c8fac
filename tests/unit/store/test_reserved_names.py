"""Names of deleted accounts are reserved for the configured time, and stored as keyed hashes."""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import pytest
from sqlalchemy import Engine, select

import chatmail_milter
from chatmail_milter.store.accounts import Account, Accounts
from chatmail_milter.store.engine import open_store
from chatmail_milter.store.fault import StoreError
from chatmail_milter.store.reserved_names import NameReservedError, ReservedNames
from chatmail_milter.store.tables import reserved_names
from chatmail_milter.store.tokens import Tokens
from tests import stores

ALICE, BOB = "alice123@a.test", "bob12345@a.test"
HOUR, DAY = 3600.0, 86400.0
NOON = 20_000 * DAY + 12 * HOUR


class Store:
    """A store, in which names are reserved for `seconds`, and a clock."""

    def __init__(self, path: Path, seconds: float) -> None:
        self.path, self.now = path, NOON
        self.engine: Engine = open_store(stores.made(path))
        self.names = ReservedNames(seconds, now=lambda: self.now)
        self.accounts = Accounts(self.engine, today=lambda: date(2026, 3, 2), names=self.names)

    def rows(self) -> list[tuple[object, ...]]:
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(select(reserved_names))]

    def is_free(self, address: str) -> bool:
        """Whether a login could make the account. Makes it, if so."""
        try:
            return self.accounts.create(address, "{X}")
        except NameReservedError:
            return False


@pytest.fixture
def kept_for(tmp_path: Path) -> Callable[[float], Store]:
    def made(seconds: float) -> Store:
        store = Store(tmp_path / "store.sqlite", seconds)
        for one in (ALICE, BOB):
            store.accounts.create(one, "{X}")
        assert store.accounts.delete(ALICE)
        return store

    return made


# What is kept for a day or longer is kept to the end of the day: the store has no times.
@pytest.mark.parametrize(
    ("seconds", "free_after"), [(1.0, 1.0), (HOUR, HOUR), (DAY, 1.5 * DAY), (90 * DAY, 90.5 * DAY)]
)
def test_a_name_is_free_when_its_time_is_over_and_not_before(
    kept_for: Callable[[float], Store], seconds: float, free_after: float
) -> None:
    store = kept_for(seconds)
    store.now = NOON + free_after - 0.5
    assert store.accounts.reserved(ALICE)
    assert not store.is_free(ALICE)
    assert store.accounts.lookup(ALICE) is None
    assert store.names.release_due(store.engine) == 0
    store.now = NOON + free_after
    assert not store.accounts.reserved(ALICE)
    assert store.is_free(ALICE)
    assert store.names.release_due(store.engine) == 1
    assert store.rows() == []


def test_no_other_name_is_reserved(kept_for: Callable[[float], Store]) -> None:
    store = kept_for(DAY)
    assert not store.accounts.reserved("alice124@a.test")
    assert store.is_free("alice124@a.test")
    assert not store.accounts.reserved(BOB)


def test_none_is_where_the_operator_wants_it(kept_for: Callable[[float], Store], names_key: Path) -> None:
    store = kept_for(0)
    assert store.rows() == []
    assert store.is_free(ALICE)
    # Those of before are given out at once, and are forgotten by the next pass.
    Accounts(store.engine).delete(ALICE)
    assert len(store.rows()) == 1
    names_key.unlink()
    assert store.is_free(ALICE)
    assert store.names.release_due(store.engine) == 1


def test_without_a_time_it_is_reserved_for_good(kept_for: Callable[[float], Store]) -> None:
    store = kept_for(DAY)
    store.now += 10_000 * DAY
    for accounts in (Accounts(store.engine), Accounts(store.engine, names=ReservedNames())):
        with pytest.raises(NameReservedError):
            accounts.create(ALICE, "{X}")
    assert ReservedNames(now=lambda: store.now).release_due(store.engine) == 0


@pytest.mark.sqlite
def test_the_store_has_a_keyed_hash_and_a_day(kept_for: Callable[[float], Store]) -> None:
    store = kept_for(90 * DAY)
    mac = hmac.digest(b"6e" * 32, ALICE.encode(), "sha256").hex()
    assert store.rows() == [(mac[:32], 20_001 * DAY)]
    store.engine.dispose()
    assert b"alice123" not in store.path.read_bytes()


@pytest.mark.parametrize("content", [None, "short"])
def test_without_the_key_no_name_is_given_out_and_no_account_deleted(
    tmp_path: Path, names_key: Path, content: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "store.sqlite", DAY)
    store.accounts.create(ALICE, "{X}")
    store.accounts.create(BOB, "{X}")
    file = tmp_path / "other.key"
    if content:
        file.write_text(content)
    monkeypatch.setenv("CHATMAIL_NAMES_KEY", str(file))
    put_away: list[str] = []
    with pytest.raises(StoreError, match=r"run the playbook, which makes the key: .*other\.key"):
        store.accounts.delete(ALICE, beforehand=lambda: put_away.append(ALICE))
    assert (store.accounts.lookup(ALICE) is not None, put_away) == (True, [])
    monkeypatch.setenv("CHATMAIL_NAMES_KEY", str(names_key))
    assert store.accounts.delete(ALICE)
    monkeypatch.setenv("CHATMAIL_NAMES_KEY", str(file))
    with pytest.raises(StoreError):
        Accounts(store.engine, names=ReservedNames(DAY)).create("carol123@a.test", "{X}")


def test_an_operator_may_give_it_out(kept_for: Callable[[float], Store]) -> None:
    store = kept_for(DAY)
    assert not store.accounts.create(BOB, "{Y}", reuse=True)
    assert store.accounts.create(ALICE, "{Y}", reuse=True)
    assert store.rows() == []
    # From then on it is as any other.
    assert store.accounts.delete(ALICE)
    assert not store.is_free(ALICE)


def test_accounts_from_elsewhere_get_no_reserved_name(kept_for: Callable[[float], Store]) -> None:
    store = kept_for(DAY)
    those = [Account(one, "{Y}", date(2026, 1, 1), None) for one in (ALICE, BOB, "carol123@a.test")]
    assert store.accounts.carry_over(those) == ({"carol123@a.test"}, {ALICE})
    assert store.accounts.lookup(ALICE) is None
    assert store.accounts.carry_over(those, reuse=True) == ({ALICE}, set())
    assert store.accounts.lookup(ALICE) == those[0]
    assert store.rows() == []


def test_an_invitation_is_not_spent_on_it(kept_for: Callable[[float], Store]) -> None:
    store = kept_for(DAY)
    tokens = Tokens(store.engine, names=store.names)
    token, _ = tokens.create(1, None)
    assert tokens.redeem(token, ALICE, "{X}") == "exists"
    assert tokens.redeem(token, "carol123@a.test", "{X}") == "made"


def test_who_deletes_and_who_makes_at_the_same_time_leave_no_account(
    kept_for: Callable[[float], Store],
) -> None:
    store = kept_for(DAY)
    with ThreadPoolExecutor(4) as pool:
        for number in range(8):
            name = f"user{number:04}@a.test"
            store.accounts.create(name, "{X}")
            deleted = pool.submit(store.accounts.delete, name)
            made = [pool.submit(store.is_free, name) for _ in range(3)]
            assert deleted.result()
            assert not any(one.result() for one in made)
            assert store.accounts.lookup(name) is None


def test_accounts_are_made_and_deleted_in_one_file_only() -> None:
    """So that no other forgets names: nowhere else is the table of accounts an argument of these."""
    written = re.compile(r"\b(insert|delete|insert_new|upsert|upsert_all)\((connection, )?accounts\b")
    root = Path(chatmail_milter.__file__).parents[1]
    files = [one for package in ("chatmail_milter", "mxdeliv_app") for one in (root / package).rglob("*.py")]
    assert {one.name for one in files if written.search(one.read_text("utf-8"))} == {"accounts.py"}
