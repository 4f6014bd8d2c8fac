"""`chatmailctl federation`: the mode, its exceptions, and the message that says what is in force."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner, Result

from chatmail_milter.ctl.main import main
from chatmail_milter.rules.policy import Federation
from chatmail_milter.store.engine import open_store
from chatmail_milter.store.policies import Policies

pytestmark = pytest.mark.usefixtures("store")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["federation", *arguments])


def shown() -> Any:
    return json.loads(run("show", "--json").output)


def test_a_fresh_relay_is_open() -> None:
    assert run("show").output == "Open: mail is exchanged with all domains.\n"
    assert shown() == {"rule": "open", "exceptions": []}


def test_closing_it_leaves_nobody_but_the_exceptions(store: str) -> None:
    assert run("closed").output == "Closed: mail is exchanged with no domains.\n"
    said = run("add", "Friend.test", ".friend.test").output
    assert said.splitlines() == [
        "2 of them are new.",
        "Closed: mail is exchanged with no domains but",
        "  .friend.test",
        "  friend.test",
    ]
    assert shown() == {"rule": "closed", "exceptions": [".friend.test", "friend.test"]}
    in_force = Policies(open_store(store)).current().federation
    assert in_force == Federation("closed", frozenset({".friend.test", "friend.test"}))


def test_each_rule_keeps_its_own_exceptions() -> None:
    run("add", "evil.test")
    assert run("closed").output == "Closed: mail is exchanged with no domains.\n"
    assert run("open").output == "Open: mail is exchanged with all domains but\n  evil.test\n"


def test_adding_again_says_so() -> None:
    run("add", "evil.test")
    assert run("add", "evil.test", "worse.test").output.startswith("1 of them is new.\n")


def test_an_ip_literal_is_a_domain() -> None:
    run("add", "192.0.2.1")
    assert shown()["exceptions"] == ["[192.0.2.1]"]


def test_removing_names_what_was_no_exception() -> None:
    run("add", "evil.test")
    result = run("remove", "evil.test", "good.test")
    assert result.exit_code == 1
    assert "no exceptions: good.test" in result.stderr
    assert shown()["exceptions"] == []


@pytest.mark.parametrize("text", ["u@b.test", "192.0.2.0/24", "*", "a b", ""])
def test_what_is_no_domain_is_a_usage_error_and_changes_nothing(text: str) -> None:
    assert run("add", "good.test", text).exit_code == 2
    assert shown()["exceptions"] == []


def test_our_own_domain_is_no_exception() -> None:
    assert "does not apply to this relay's own domain" in run("add", "a.test").stderr
