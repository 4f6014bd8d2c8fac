"""`chatmailctl token`: create (shown once), list (without the secret), revoke."""

from __future__ import annotations

import json

import pytest

from chatmail_milter.store.engine import open_store
from chatmail_milter.store.tokens import Tokens
from tests.unit.chatmailctl import rows, run

pytestmark = pytest.mark.usefixtures("store")


def test_a_token_is_printed_once_with_its_link(store: str) -> None:
    made = json.loads(run("token", "create", "--uses", "3", "--expires", "7d", "--json").stdout)
    assert made["link"] == f"dcaccount:https://a.test/new?token={made['token']}"
    assert Tokens(open_store(store)).usable(made["token"])
    [listed] = rows("token", "list")
    assert (listed["id"], listed["uses"], listed["used"], listed["spent"]) == (made["id"], 3, 0, False)
    assert listed["expires"] == made["expires"]
    assert made["token"] not in json.dumps(listed)
    assert made["token"] not in run("token", "list").output


def test_where_tokens_are_not_asked_for_that_is_said() -> None:
    result = run("token", "create")
    assert len(result.stdout.splitlines()) == 2
    assert "set accounts.registration to `token`" in result.stderr


def test_spent_tokens_are_listed_as_such(store: str) -> None:
    token = run("token", "create", "--uses", "1").stdout.split()[0]
    Tokens(open_store(store)).redeem(token, "alice123@a.test", "{X}")
    assert rows("token", "list")[0]["spent"] is True
    assert "yes" in run("token", "list").output


def test_revoked_by_either_name_it_makes_no_account(store: str) -> None:
    tokens = Tokens(open_store(store))
    by_itself, by_id = (json.loads(run("token", "create", "--json").stdout) for _ in range(2))
    assert run("token", "remove", by_itself["token"]).exit_code == 0
    assert run("token", "remove", by_id["id"]).exit_code == 0
    assert not tokens.usable(by_itself["token"])
    assert not tokens.usable(by_id["token"])
    assert run("token", "remove", by_id["id"]).exit_code == 1
    assert run("token", "list").output == "There are no tokens.\n"


@pytest.mark.parametrize(
    "arguments",
    [("--uses", "0"), ("--uses", "x"), ("--expires", "7"), ("--expires", "soon"), ("--expires", "")],
)
def test_what_makes_no_sense_makes_no_token(arguments: tuple[str, str]) -> None:
    assert run("token", "create", *arguments).exit_code == 2
    assert rows("token", "list") == []
