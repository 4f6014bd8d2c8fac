"""`chatmailctl account create`, `password`, `show`: no password among the arguments or echoed when typed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError
from click.testing import CliRunner, Result

from chatmail_milter.ctl.main import main
from chatmail_milter.store.accounts import Accounts
from chatmail_milter.store.engine import open_store
from tests.unit.chatmailctl import rows, run

ALICE = "alice123@a.test"
PASSWORD = "correct horse & ümlaut+"


@pytest.fixture(autouse=True)
def accounts(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Accounts:
    monkeypatch.setenv("CHATMAIL_DOVEADM", str(tmp_path / "no-doveadm"))
    return Accounts(open_store(store))


@pytest.fixture
def verify(accounts: Accounts) -> Callable[[str, str], bool]:
    def verify(address: str, password: str) -> bool:
        account = accounts.lookup(address)
        assert account is not None
        scheme, _, encoded = account.password_hash.rpartition("}")
        assert scheme == "{ARGON2ID"
        try:
            return PasswordHasher().verify(encoded, password)
        except VerifyMismatchError:
            return False

    return verify


def typed(text: str, *arguments: str) -> Result:
    """With `text` on stdin, which is no terminal."""
    return CliRunner().invoke(main, arguments, input=text)


def test_the_name_of_an_account_that_is_gone_takes_a_flag(
    accounts: Accounts, verify: Callable[[str, str], bool]
) -> None:
    accounts.create(ALICE, "{X}")
    accounts.delete(ALICE)
    refused = typed(f"{PASSWORD}\n", "account", "create", ALICE, "--ask")
    assert (refused.exit_code, refused.stderr.count("\n")) == (1, 1)
    assert refused.stderr.startswith("Error: choose another address, or add --reuse-name: ")
    assert accounts.lookup(ALICE) is None
    assert typed(f"{PASSWORD}\n", "account", "create", ALICE, "--ask", "--reuse-name").exit_code == 0
    assert verify(ALICE, PASSWORD)


def test_the_names_of_deleted_accounts_are_free_where_the_configuration_says_so(
    accounts: Accounts, tmp_path: Path
) -> None:
    accounts.create(ALICE, "{X}")
    file = tmp_path / "chatmail.toml"
    file.write_text(file.read_text() + '[accounts]\nnames_kept = "0s"\n')
    assert run("account", "delete", ALICE).exit_code == 0
    assert typed(f"{PASSWORD}\n", "account", "create", ALICE, "--ask").exit_code == 0


def test_a_random_account_is_printed_with_a_link_that_logs_in(verify: Callable[[str, str], bool]) -> None:
    made = rows("account", "create")
    assert made["address"].endswith("@a.test")
    assert verify(made["address"], made["password"])
    link = urlsplit(made["link"])
    assert (link.scheme, link.path) == ("dclogin", made["address"])
    query = {key: value for key, [value] in parse_qs(link.query, strict_parsing=True).items()}
    assert query == {
        "p": made["password"], "v": "1",
        "ih": "a.test", "ip": "993", "is": "ssl", "sh": "a.test", "sp": "465", "ss": "ssl",
    }  # fmt: skip
    assert run("account", "create").stdout.count("\n") == 3


def test_the_operator_may_choose_an_address_that_strangers_may_not(accounts: Accounts) -> None:
    assert run("account", "create", "Al@a.test").exit_code == 0
    assert accounts.lookup("al@a.test") is not None


@pytest.mark.parametrize(
    "address",
    [
        "alice123@b.test",
        "a..b@a.test",
        "-x@a.test",
        "a/b@a.test",
        "a%b@a.test",
        "a+b@a.test",
        "postmaster@a.test",
    ],
)
def test_an_address_that_nobody_may_have_is_refused(accounts: Accounts, address: str) -> None:
    result = run("account", "create", "--", address)
    # What is no address at all is refused as an argument.
    assert result.exit_code == (2 if ".." in address else 1)
    assert ("malformed" if ".." in address else "choose another address") in result.stderr
    assert accounts.list() == ()


def test_who_is_there_is_not_made_again(verify: Callable[[str, str], bool]) -> None:
    assert typed(f"{PASSWORD}\n", "account", "create", ALICE, "--ask").exit_code == 0
    assert run("account", "create", ALICE).exit_code == 1
    assert verify(ALICE, PASSWORD)


@pytest.mark.parametrize("end", ["\n", "\r\n", "", "\nmore\n"])
def test_a_password_is_the_first_line_of_stdin_and_is_not_shown(
    verify: Callable[[str, str], bool], end: str
) -> None:
    result = typed(PASSWORD + end, "account", "create", ALICE, "--ask", "--qr")
    assert (result.exit_code, result.output) == (0, f"{ALICE}\n")
    assert verify(ALICE, PASSWORD)
    other = "another long one"
    changed = typed(other + end, "account", "password", ALICE)
    assert (changed.exit_code, changed.stdout) == (0, "")
    assert "that are open stay open: this host has no Dovecot" in changed.stderr
    assert verify(ALICE, other)
    assert not verify(ALICE, PASSWORD)


@pytest.mark.parametrize("password", ["", "\n", "short\n", "x" * 300 + "\n", "nul\x00 in the middle\n"])
def test_a_password_that_nobody_may_have_changes_nothing(
    verify: Callable[[str, str], bool], accounts: Accounts, password: str
) -> None:
    assert typed(password, "account", "create", ALICE, "--ask").exit_code == 1
    assert accounts.list() == ()
    typed(PASSWORD, "account", "create", ALICE, "--ask")
    result = typed(password, "account", "password", ALICE)
    assert result.exit_code == 1
    assert "choose another password" in result.stderr
    assert verify(ALICE, PASSWORD)


def test_a_password_is_no_argument() -> None:
    assert run("account", "password", ALICE, PASSWORD).exit_code == 2
    assert run("account", "create", ALICE, PASSWORD).exit_code == 2


def test_a_random_password_is_printed(verify: Callable[[str, str], bool]) -> None:
    run("account", "create", ALICE)
    made = json.loads(run("account", "password", ALICE, "--random", "--json").stdout)
    assert verify(ALICE, made["password"])
    assert run("account", "password", "nobody12@a.test", "--random").exit_code == 1


def test_a_code_to_scan_goes_to_stderr() -> None:
    result = run("account", "create", "--qr", "--json")
    assert json.loads(result.stdout)["link"].startswith("dclogin:")


def test_one_account_is_shown_without_its_hash(accounts: Accounts) -> None:
    accounts.create(ALICE, "{SHA512-CRYPT}$6$salt$hash")
    shown = rows("account", "show", ALICE)
    assert shown["address"] == ALICE
    assert shown["scheme"] == "SHA512-CRYPT"
    assert "$6$" not in run("account", "show", ALICE).output
    assert run("account", "show", "nobody12@a.test").exit_code == 1
