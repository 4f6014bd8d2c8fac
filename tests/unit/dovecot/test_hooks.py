"""`chatmail-hooks`: accounts looked up, created and touched, for callers with the secret URL."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher
from falcon import testing
from sqlalchemy.exc import OperationalError

from chatmail_milter import config
from chatmail_milter.accounts.limits import Shortage
from chatmail_milter.rules.blocklist import Blocklist
from chatmail_milter.rules.policy import OPEN, Federation, Policy
from chatmail_milter.store.accounts import Accounts
from chatmail_milter.store.engine import open_store
from chatmail_milter.store.tables import metadata
from mxdeliv_app.dovecot.hooks import app
from tests import stores

SECRET = "5ec2e7" * 8
ALICE = "alice123@a.example"
PASSWORD = "correct horse"
TODAY = date(2026, 3, 2)

Ask = Callable[..., Any]


@pytest.fixture
def accounts(tmp_path: Path) -> Accounts:
    return Accounts(open_store(stores.made(tmp_path / "store.sqlite")), today=lambda: TODAY)


def client(
    accounts: Accounts | Callable[[], Accounts],
    text: str = "",
    policy: Policy | Callable[[], Policy] = OPEN,
    short: Shortage | None = None,
) -> testing.TestClient:
    settings = config.parse(f'[mail]\ndomain = "a.example"\n{text}')
    store = accounts if callable(accounts) else lambda: accounts
    in_force = policy if callable(policy) else lambda: policy
    return testing.TestClient(app.create_app(settings, store, in_force, lambda: short, SECRET, lambda: TODAY))


@pytest.fixture(scope="module")
def none(tmp_path_factory: pytest.TempPathFactory) -> Accounts:
    """Accounts for questions that must make none."""
    return Accounts(open_store(stores.made(tmp_path_factory.mktemp("none") / "store.sqlite")))


@pytest.fixture(scope="module")
def refusing(none: Accounts) -> testing.TestClient:
    return client(none)


def ask(to: testing.TestClient, question: str, **what: Any) -> Any:
    return to.simulate_post(f"/dovecot/{question}", json=what, headers={"X-Chatmail-Secret": SECRET})


def test_a_first_login_makes_an_account_that_is_found_from_then_on(accounts: Accounts) -> None:
    to = client(accounts)
    assert ask(to, "lookup", user=ALICE).status_code == 404
    assert ask(to, "lookup", user=ALICE).json == {"exists": False}
    created = ask(to, "create", user=ALICE, password=PASSWORD)
    assert created.status_code == 201
    found = ask(to, "lookup", user=ALICE)
    assert (found.status_code, found.json["exists"]) == (200, True)
    assert found.json["password"] == created.json["password"]
    assert PasswordHasher().verify(found.json["password"].removeprefix("{ARGON2ID}"), PASSWORD)
    account = accounts.lookup(ALICE)
    assert account is not None
    assert (account.created, account.last_login) == (TODAY, TODAY)


def test_an_account_that_exists_is_never_made_again(accounts: Accounts) -> None:
    to = client(accounts)
    before = ask(to, "create", user=ALICE, password=PASSWORD).json["password"]
    again = ask(to, "create", user=ALICE, password="other password")
    assert (again.status_code, again.json) == (409, {"reason": "exists"})
    assert ask(to, "lookup", user=ALICE).json["password"] == before


def test_ten_first_logins_at_once_make_one_account(accounts: Accounts) -> None:
    to = client(accounts)
    with ThreadPoolExecutor(10) as pool:
        answers = list(
            pool.map(lambda i: ask(to, "create", user=ALICE, password=PASSWORD + str(i)), range(10))
        )
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 9
    winner = next(answer for answer in answers if answer.status_code == 201)
    assert ask(to, "lookup", user=ALICE).json["password"] == winner.json["password"]


@pytest.mark.parametrize(
    "user",
    [
        "alice123@b.example",
        "Alice123@a.example",
        "alice%12@a.example",
        'a"lice12@a.example',
        "x" * 5000,
        "",
        "a@@",
    ],
)
def test_names_that_may_not_be_are_refused_with_a_reason_and_not_found(accounts: Accounts, user: str) -> None:
    to = client(accounts)
    refused = ask(to, "create", user=user, password=PASSWORD)
    assert refused.status_code == 403
    assert refused.json["reason"]
    assert ask(to, "lookup", user=user).status_code == 404
    assert accounts.list() == ()


def test_first_logins_from_one_network_make_so_many_accounts_and_no_more(accounts: Accounts) -> None:
    to = client(accounts, "[accounts]\nnew_per_minute = 3")

    def made(ip: str, name: str) -> int:
        status: int = ask(to, "create", user=f"{name}1234567@a.example", password=PASSWORD, ip=ip).status_code
        return status

    assert [made("192.0.2.1", name) for name in "abcd"] == [201, 201, 201, 429]
    assert [made(f"2001:db8::{one}", one) for one in "4567"] == [201, 201, 201, 429]
    assert [made("192.0.2.2", "e"), made("2001:db8:0:1::1", "f")] == [201, 201]
    assert len(accounts.list()) == 8
    # Who has an account is not counted, nor is a name that can't be had.
    assert ask(to, "lookup", user="a1234567@a.example", ip="192.0.2.1").status_code == 200
    assert ask(to, "create", user="short@a.example", password=PASSWORD, ip="192.0.2.1").status_code == 403


def test_a_reserved_name_is_refused_and_takes_nothing_from_others_behind_the_address(
    accounts: Accounts,
) -> None:
    accounts.create(ALICE, "{X}")
    accounts.delete(ALICE)
    to = client(accounts, "[accounts]\nnew_per_minute = 1")
    for _ in range(3):
        refused = ask(to, "create", user=ALICE, password=PASSWORD, ip="192.0.2.1")
        assert (refused.status_code, refused.json) == (403, {"reason": "the name is reserved"})
    assert ask(to, "lookup", user=ALICE).status_code == 404
    made = ask(to, "create", user="bob12345@a.example", password=PASSWORD, ip="192.0.2.1")
    assert made.status_code == 201


def test_a_name_that_is_reserved_at_the_last_moment_is_refused(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts.create(ALICE, "{X}")
    accounts.delete(ALICE)
    monkeypatch.setattr(accounts, "reserved", lambda _: False)
    assert ask(client(accounts), "create", user=ALICE, password=PASSWORD).status_code == 403
    assert accounts.lookup(ALICE) is None


def test_a_closed_relay_makes_no_accounts_and_serves_those_it_has(accounts: Accounts) -> None:
    accounts.create(ALICE, "{X}")
    to = client(accounts, '[accounts]\nregistration = "closed"')
    refused = ask(to, "create", user="bob12345@a.example", password=PASSWORD)
    assert (refused.status_code, refused.json) == (403, {"reason": "registration is closed"})
    assert ask(to, "lookup", user=ALICE).status_code == 200


@pytest.mark.parametrize(
    ("registration", "length", "status"),
    [("manual", 22, 201), ("manual", 23, 403), ("manual", 24, 201), ("open", 23, 201)],
)
def test_manual_registration_refuses_accounts_that_apps_add_by_themselves(
    accounts: Accounts, registration: str, length: int, status: int
) -> None:
    to = client(accounts, f'[accounts]\nregistration = "{registration}"')
    made = ask(to, "create", user=ALICE, password="x" * length)
    assert made.status_code == status
    if status == 403:
        assert made.json == {"reason": "registration is manual"}
    assert (accounts.lookup(ALICE) is None) is (status == 403)


def test_manual_registration_leaves_the_accounts_that_are_there(accounts: Accounts) -> None:
    accounts.create(ALICE, "{X}")
    to = client(accounts, '[accounts]\nregistration = "manual"')
    assert ask(to, "lookup", user=ALICE).status_code == 200


def test_a_login_is_remembered_by_day(accounts: Accounts) -> None:
    accounts.create(ALICE, "{X}")
    to = client(accounts)
    assert ask(to, "login", user=ALICE).status_code == 204
    account = accounts.lookup(ALICE)
    assert account is not None
    assert account.last_login == TODAY
    assert ask(to, "login", user="nobody12@a.example").status_code == 404


def test_a_lookup_says_whether_todays_login_is_still_to_be_told(accounts: Accounts) -> None:
    accounts.create(ALICE, "{X}")
    to = client(accounts)
    for day in (None, TODAY - timedelta(days=1)):
        if day:
            accounts.touch(ALICE, day)
        assert ask(to, "lookup", user=ALICE).json["seen"] is False
    ask(to, "login", user=ALICE)
    assert ask(to, "lookup", user=ALICE).json["seen"] is True


def test_a_lookup_has_the_quota_of_the_session_that_follows(accounts: Accounts, tmp_path: Path) -> None:
    accounts.create(ALICE, "{X}")
    to = client(accounts)
    assert ask(to, "lookup", user=ALICE).json["quota"] is None
    accounts.set_quota(ALICE, 10**12)
    assert ask(to, "lookup", user=ALICE).json["quota"] == 10**12


def test_a_mailbox_has_everybodys_quota_or_its_own_and_tells_no_hash(
    accounts: Accounts, tmp_path: Path
) -> None:
    to = client(accounts)
    assert ask(to, "mailbox", user=ALICE).status_code == 404
    accounts.create(ALICE, "{X}")
    assert ask(to, "mailbox", user=ALICE).json == {"quota": None}
    accounts.set_quota(ALICE, 10**12)
    assert ask(to, "mailbox", user=ALICE).json == {"quota": 10**12}
    assert ask(to, "mailbox", user=ALICE.upper()).status_code == 404


class TestPolicy:
    POLICY = Policy(
        Blocklist.of(["mallory1@a.example", "192.0.2.0/24", "2001:db8::/32"]),
        Federation(),
        frozenset({"bob12345@a.example"}),
    )

    @pytest.mark.parametrize(
        ("user", "ip", "reason"),
        [
            ("bob12345@a.example", "198.51.100.7", "suspended"),
            ("bob12345@a.example", "", "suspended"),
            ("mallory1@a.example", "198.51.100.7", "blocked"),
            (ALICE, "192.0.2.7", "blocked-network"),
            (ALICE, "::ffff:192.0.2.7", "blocked-network"),
            (ALICE, "2001:db8::7", "blocked-network"),
        ],
    )
    def test_a_login_that_it_denies_is_told_so_and_makes_no_account(
        self, accounts: Accounts, user: str, ip: str, reason: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("INFO")
        to = client(accounts, policy=self.POLICY)
        denied = ask(to, "lookup", user=user, ip=ip)
        assert (denied.status_code, denied.json) == (423, {"reason": reason})
        denied = ask(to, "create", user=user, password=PASSWORD, ip=ip)
        assert (denied.status_code, denied.json) == (423, {"reason": reason})
        assert accounts.list() == ()
        assert f"event=login-denied reason={reason}" in caplog.text
        for secret in filter(None, (user, ip)):
            assert secret not in caplog.text

    @pytest.mark.parametrize("ip", ["198.51.100.7", "2001:db9::7", "fe80::1%eth0", ""])
    def test_a_login_that_it_allows_is_answered_as_ever(self, accounts: Accounts, ip: str) -> None:
        to = client(accounts, policy=self.POLICY)
        assert ask(to, "lookup", user=ALICE, ip=ip).status_code == 404
        assert ask(to, "create", user=ALICE, password=PASSWORD, ip=ip).status_code == 201
        assert ask(to, "lookup", user=ALICE, ip=ip).status_code == 200

    def test_a_suspended_account_is_there_for_its_mail(self, accounts: Accounts) -> None:
        accounts.create("bob12345@a.example", "{X}")
        to = client(accounts, policy=self.POLICY)
        assert ask(to, "lookup", user="bob12345@a.example").status_code == 200
        assert ask(to, "mailbox", user="bob12345@a.example").status_code == 200

    @pytest.mark.parametrize("ip", ["x", "192.0.2", "192.0.2.0/24", " ", 7, [], {}])
    @pytest.mark.parametrize("question", ["lookup", "create"])
    def test_what_is_no_ip_address_is_a_400(
        self, refusing: testing.TestClient, none: Accounts, question: str, ip: Any
    ) -> None:
        answer = ask(refusing, question, user=ALICE, password=PASSWORD, ip=ip)
        assert answer.status_code == 400
        assert none.list() == ()

    def test_a_policy_that_can_not_be_read_means_later(self, accounts: Accounts) -> None:
        def away() -> Policy:
            raise OperationalError("SELECT", {}, Exception("locked"))

        to = client(accounts, policy=away)
        assert ask(to, "lookup", user=ALICE, ip="").status_code == 503
        assert ask(to, "create", user=ALICE, password=PASSWORD, ip="").status_code == 503
        assert ask(to, "lookup", user=ALICE).status_code == 404


@pytest.mark.parametrize("shown", [None, "", "x", SECRET[:-1], SECRET + "x", SECRET.upper(), "\xff" * 48])
@pytest.mark.parametrize(
    "path", ["/dovecot/lookup", "/dovecot/create", "/dovecot/login", "/dovecot/mailbox", "/x"]
)
def test_without_the_secret_there_is_no_answer(
    refusing: testing.TestClient, none: Accounts, shown: str | None, path: str
) -> None:
    headers = {} if shown is None else {"X-Chatmail-Secret": shown}
    answer = refusing.simulate_post(path, json={"user": ALICE, "password": PASSWORD}, headers=headers)
    assert answer.status_code == 401
    assert none.list() == ()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b'{"user": 1}',
        b'{"user": null}',
        b"\xff",
        b"[" * 10_000,
        b'{"user": "\xff"}',
        b'{"user": "\\ud800"}',
    ],
)
@pytest.mark.parametrize("question", ["lookup", "create", "login", "mailbox"])
def test_malformed_questions_are_a_400(refusing: testing.TestClient, question: str, body: bytes) -> None:
    headers = {"X-Chatmail-Secret": SECRET}
    answer = refusing.simulate_post(f"/dovecot/{question}", body=body, headers=headers)
    assert answer.status_code == 400


def test_a_megabyte_is_a_413(accounts: Accounts) -> None:
    assert ask(client(accounts), "create", user=ALICE, password="x" * 1_000_000).status_code == 413


def test_a_fault_of_ours_says_later_and_logs_where_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> Accounts:
        raise KeyError(ALICE)

    answer = ask(client(broken), "lookup", user=ALICE)
    assert (answer.status_code, answer.text) == (503, "451 4.3.0 Internal error, try again later\r\n")
    assert "retry-after" not in answer.headers, "Dovecot obeys it"
    assert "error=KeyError" in caplog.text
    assert "test_hooks.py" in caplog.text
    assert "alice" not in caplog.text


@pytest.mark.parametrize("question", ["lookup", "create", "login"])
def test_without_its_tables_the_store_is_away_for_now_and_no_answer_is_final(
    accounts: Accounts, tmp_path: Path, caplog: pytest.LogCaptureFixture, question: str
) -> None:
    to = client(accounts)
    metadata.drop_all(open_store(stores.made(tmp_path / "store.sqlite")))
    answer = ask(to, question, user=ALICE, password=PASSWORD)
    assert (answer.status_code, answer.text) == (503, "")
    assert "retry-after" not in answer.headers
    assert "event=store-away error=OperationalError" in caplog.text
    assert "alice" not in caplog.text


class TestRegistration:
    @pytest.mark.parametrize("short", ["load", "memory", "disk"])
    def test_without_room_no_account_is_made_and_those_that_are_there_are_served(
        self, accounts: Accounts, short: Shortage
    ) -> None:
        accounts.create(ALICE, "{X}")
        to = client(accounts, short=short)
        refused = ask(to, "create", user="bob12345@a.example", password=PASSWORD)
        assert (refused.status_code, refused.json) == (507, {"reason": short})
        assert ask(to, "lookup", user=ALICE, ip="198.51.100.7").status_code == 200
        assert [one.address for one in accounts.list()] == [ALICE]

    def test_by_token_a_first_login_makes_none(self, accounts: Accounts) -> None:
        to = client(accounts, '[accounts]\nregistration = "token"')
        refused = ask(to, "create", user=ALICE, password=PASSWORD)
        assert (refused.status_code, refused.json) == (403, {"reason": "registration is by token"})
        assert accounts.list() == ()

    def test_a_name_that_may_not_be_is_refused_for_good_though_there_is_no_room_either(
        self, accounts: Accounts
    ) -> None:
        assert ask(client(accounts, short="disk"), "create", user="x", password=PASSWORD).status_code == 403


class TestSecret:
    def test_is_the_line_in_the_file(self, tmp_path: Path) -> None:
        path = tmp_path / "secret"
        path.write_text(f"{SECRET}\n")
        assert app.read_secret(path) == SECRET

    @pytest.mark.parametrize("content", [None, b"", b"\n", b"short\n", b"\xff" * 64])
    def test_missing_or_weak_stops_the_program(
        self, tmp_path: Path, content: bytes | None, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = tmp_path / "secret"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(SystemExit) as stopped:
            app.read_secret(path)
        assert stopped.value.code == 78
        assert str(path) in capsys.readouterr().err
