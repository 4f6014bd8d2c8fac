"""All tables are in one module, so that no store lacks one because its module was not imported."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

from sqlalchemy import delete

from chatmail_milter.store.accounts import Accounts
from chatmail_milter.store.engine import open_store
from chatmail_milter.store.push import DeviceTokens
from chatmail_milter.store.tables import accounts

ROOT = Path(__file__).parents[3]


def test_only_one_module_defines_tables() -> None:
    modules = [path for room in ("chatmail_milter", "mxdeliv_app") for path in (ROOT / room).rglob("*.py")]
    definition = re.compile(r'\bTable\(\s*"\w+",\s*metadata|\bMetaData\(')
    defining = [path for path in modules if definition.search(path.read_text("utf-8"))]
    assert [path.name for path in defining] == ["tables.py"]


def test_what_refers_to_an_account_goes_with_it_by_whichever_connection(tmp_path: Path) -> None:
    engine = open_store(f"sqlite:///{tmp_path}/store")
    Accounts(engine).create("alice123@a.test", "{X}")
    tokens = DeviceTokens(engine, timedelta(days=9))
    assert tokens.add("alice123@a.test", "token")
    # One that nobody has used before: the others are taken.
    with engine.connect(), engine.connect(), engine.begin() as third:
        assert third.execute(delete(accounts)).rowcount == 1
    assert tokens.of("alice123@a.test") == []
