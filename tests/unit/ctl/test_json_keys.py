"""Each table of `chatmailctl` as JSON has the keys of docs/json.md, which documents every command."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import click
import pytest

from chatmail_milter.ctl.main import main
from chatmail_milter.doctor import Finding
from chatmail_milter.doctor.records import Record
from chatmail_milter.store.contacts import Contact
from chatmail_milter.store.endpoints import Endpoints
from chatmail_milter.store.engine import open_store
from chatmail_milter.store.peers import Peers
from mxdeliv_app.probe.steps import ProbeAttempt
from tests.unit.chatmailctl import run
from tests.unit.ctl.test_queue import message, write

PAGE = Path(__file__).resolve().parents[3] / "docs/json.md"
# These do something and say so in a sentence, or print what is no table.
NO_TABLE = {
    "account delete", "account export", "account import", "account resume", "account suspend",
    "admin hash",
    "block add", "block import", "block remove",
    "calls publish", "calls rotate",
    "config check", "config example",
    "endpoints forget",
    "expire",
    "metrics",
    "federation add", "federation closed", "federation open", "federation remove",
    "queue delete", "queue flush", "queue hold", "queue release",
    "refusals forget",
    "route remove", "route set",
    "token remove",
}  # fmt: skip
# Of root, of the journal, of systemd, or with other keys by option: tested where they are.
NOT_RUN = {"backup", "restore", "trace", "account password", "account create", "status"}
ALICE = "alice123@a.test"


def commands(group: click.Group, before: str = "") -> Iterator[tuple[str, click.Command]]:
    """All that can be run, hidden ones left out."""
    context = click.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        assert found is not None
        words = f"{before}{name}"
        if found.hidden:
            continue
        if isinstance(found, click.Group):
            yield from commands(found, f"{words} ")
            if found.invoke_without_command:
                yield words, found
        else:
            yield words, found


@cache
def promised() -> dict[str, set[str]]:
    """The keys of each command's JSON, by the table of the page."""
    found = {}
    for line in PAGE.read_text("utf-8").splitlines():
        if line.startswith("| `"):
            names, _, keys = line.strip("| ").split(" | ")
            for name in re.findall(r"`([^`]+)`", names):
                found[name] = set(re.findall(r"`([a-z0-9_]+)`", keys))
    return found


def test_every_command_that_has_a_table_prints_json_and_the_page_has_its_keys() -> None:
    there = dict(commands(main))
    as_json = {name for name, one in there.items() if any(p.name == "as_json" for p in one.params)}
    assert there.keys() - as_json == NO_TABLE
    assert as_json == promised().keys()


@pytest.fixture
def full(store: str, postqueue: Path, tmp_path: Path) -> None:
    """A store and a queue that have something for every table."""
    engine, now = open_store(store), datetime.now(UTC)
    run("account", "import", _account(tmp_path))
    run("block", "add", "spam.test")
    run("route", "set", "b.test", "192.0.2.1")
    run("token", "create")
    Peers(engine).add([Contact("b.test", "https", False, None, "tls", now, words="expired")])
    Endpoints(engine).failed("b.test", "tls", now, None)
    write(postqueue, message("AAAA1", "x@b.test"))
    (tmp_path / "message").write_bytes(b"From: a@b.test\r\n\r\nhello\r\n")


def _account(directory: Path) -> str:
    file = directory / "accounts"
    hashed = "{SHA512-CRYPT}$6$salt$" + "x" * 80
    file.write_text(f'{{"address": "{ALICE}", "password_hash": "{hashed}", "created": "2026-03-02"}}\n')
    return str(file)


@pytest.mark.usefixtures("full")
def test_what_commands_print_has_the_keys_of_the_page(tmp_path: Path) -> None:
    words = {
        "account show": [ALICE], "account quota": [ALICE], "peers show": ["b.test"], "queue show": ["AAAA1"],
        "gate check": [str(tmp_path / "message")],
    }  # fmt: skip
    others = NOT_RUN | {"config show", "dns", "doctor", "probe"}
    for name in promised().keys() - others:
        found = json.loads(run(*name.split(), *words.get(name, []), "--json").stdout)
        one = found[0] if isinstance(found, list) else found
        assert set(one) == promised()[name], name


def test_those_that_ask_others_print_values_with_these_fields() -> None:
    for name, value in (("dns", Record), ("doctor", Finding)):
        assert {one.name for one in fields(value)} == promised()[name]
    # Besides, what it works out of the steps.
    assert {one.name for one in fields(ProbeAttempt)} | {"seconds", "error"} == promised()["probe"]
