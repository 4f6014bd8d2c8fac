"""`chatmailctl account export` and `import`: all is carried over, and existing accounts stay unchanged."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from chatmail_milter.ctl.main import main
from chatmail_milter.store.accounts import Account, Accounts
from chatmail_milter.store.engine import open_store
from chatmail_milter.store.policies import Suspensions
from tests.unit.chatmailctl import run

HASHES = [
    "{ARGON2ID}$argon2id$v=19$m=4096,t=2,p=1$SQ9dXNkRstMrgW6B2Y/M3A$NyZ8IIyOl7/PX6effHJnFKlf",
    "{SHA512-CRYPT}$6$salt$hash",
    "{blf-crypt}$2y$05$abc",
    "{SSHA512.b64}abc=",
]


@pytest.fixture
def accounts(store: str) -> Accounts:
    return Accounts(open_store(store))


def imported(text: str | bytes, *options: str) -> Result:
    return CliRunner().invoke(main, ["account", "import", "-", *options], input=text)


def line(number: int = 0, **changes: object) -> str:
    row = {"address": f"user{number:06}@a.test", "password_hash": HASHES[0], "created": "2026-03-02"}
    return json.dumps(row | changes) + "\n"


def test_what_is_exported_comes_back_as_it_was(accounts: Accounts, store: str, tmp_path: Path) -> None:
    there = [
        Account(f"user000{i}@a.test", HASHES[i], date(2026, 3, i + 1), date(2026, 4, 1) if i else None, quota)
        for i, quota in enumerate((None, None, 12345678, None))
    ]
    accounts.carry_over(there)
    suspensions = Suspensions(open_store(store))
    suspensions.suspend_all({"user0001@a.test": date(2026, 5, 5)})
    exported = run("account", "export").stdout
    assert len(exported.splitlines()) == 4
    for one in there:
        accounts.delete(one.address)
    suspensions.resume("user0001@a.test")
    assert imported(exported).output == (
        "Made 0 accounts.\nLeft out 4 with reserved names; --reuse-names would create them.\n"
    )
    assert (accounts.list(), suspensions.list()) == ((), {})
    assert imported(exported, "--reuse-names").output == "Made 4 accounts.\n"
    assert accounts.list() == tuple(there)
    assert suspensions.list() == {"user0001@a.test": date(2026, 5, 5)}
    assert run("account", "export").stdout == exported


def test_who_is_here_stays_as_he_is(accounts: Accounts, store: str) -> None:
    accounts.create("user000000@a.test", "{X}mine")
    result = imported(
        line(0, suspended="2026-03-03", quota=5) + line(1) + line(1, password_hash=HASHES[1]) + "\n"
    )
    assert (result.exit_code, result.output) == (0, "Made 1 account; 2 were here before.\n")
    assert [one.password_hash for one in accounts.list()] == ["{X}mine", HASHES[0]]
    assert Suspensions(open_store(store)).list() == {}
    assert [one.quota for one in accounts.list()] == [None, None]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("nonsense\n", "malformed"),
        ("[1]\n", "Expected `object`"),
        ("{}\n", "missing required field"),
        (line(7, quota=0), "Expected `int` >= 1"),
        (line(7, address="user0007@b.test"), "not an address of this server's domain"),
        (line(7, address="../../x@a.test"), "a name is made of"),
        (line(7, address="User0007@a.test"), "a name is made of"),
        (line(7, password_hash="secret"), "must be {SCHEME}"),
        (line(7, password_hash="{PLAIN}secret"), "the scheme must be one of"),
        (line(7, password_hash="{ARGON2ID}$a\nb"), "must be {SCHEME}"),
        (line(7, password_hash="{ARGON2ID}" + "x" * 300), "must be {SCHEME}"),
        (line(7, created="yesterday"), "created"),
        (line(7, pasword="x"), "pasword"),
        (line(7, address="x" * 1_000_000), "too long"),
        ("[" * 4000 + "\n", "line 3"),
    ],
)
def test_a_bad_line_is_named_and_what_stands_before_it_is_in(
    accounts: Accounts, wrong: str, says: str
) -> None:
    result = imported(line(0) + line(1) + wrong + line(2))
    assert result.exit_code == 1
    assert result.stdout == "Made 2 accounts.\n"
    assert "correct line 3: " in result.stderr
    assert says in result.stderr
    assert "secret" not in result.stderr
    assert len(result.stderr) < 400
    assert len(accounts.list()) == 2
    assert imported(line(0) + line(1) + line(2)).stdout == "Made 1 account; 2 were here before.\n"


def test_thousands_come_in_and_go_out_in_order(accounts: Accounts) -> None:
    def lines() -> Iterator[str]:
        return (line(number) for number in range(2300))

    assert imported("".join(lines())).stdout == "Made 2300 accounts.\n"
    exported = [json.loads(one)["address"] for one in run("account", "export").stdout.splitlines()]
    assert exported == [f"user{number:06}@a.test" for number in range(2300)]
    assert imported("".join(lines())).stdout == "Made 0 accounts; 2300 were here before.\n"


def test_an_empty_file_makes_nothing(accounts: Accounts) -> None:
    assert accounts.list() == ()
    assert imported("").stdout == "Made 0 accounts.\n"
