"""`POST /new`: its JSON for open, closed and token registration, and without capacity."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import falcon
import pytest
from argon2 import PasswordHasher
from falcon import testing
from sqlalchemy.exc import OperationalError

from chatmail_milter import config
from chatmail_milter.accounts import credentials, limits
from chatmail_milter.accounts.limits import Shortage
from chatmail_milter.lazy import once
from chatmail_milter.processes.ratelimit import Limiter
from chatmail_milter.store.accounts import Accounts
from chatmail_milter.store.engine import open_store
from chatmail_milter.store.tokens import Tokens
from mxdeliv_app.mxdeliv.inject import Injector, InjectPorts
from mxdeliv_app.mxdeliv.receive import MxdelivResource
from mxdeliv_app.web.app import create_app
from mxdeliv_app.web.new import NewAccountResource
from tests import stores


def away() -> Tokens:
    raise OperationalError("SELECT", {}, Exception("no file"))


def client(registration: str, tokens: Any = away, short: Shortage | None = None) -> testing.TestClient:
    settings = config.parse(f'[mail]\ndomain = "a.example"\n[accounts]\nregistration = "{registration}"\n')
    nowhere = ("127.0.0.1", 9)
    receive = MxdelivResource(Injector(InjectPorts(nowhere, nowhere)), 1000, 10)
    return testing.TestClient(
        create_app(settings, receive, NewAccountResource(settings, lambda: short, tokens))
    )


def test_open_registration_hands_out_credentials_and_asks_no_store() -> None:
    answer = client("open").simulate_post("/new")
    assert answer.status_code == 200
    assert sorted(answer.json) == ["email", "password"]
    assert client("open").simulate_post("/new?token=x").status_code == 200


@pytest.mark.parametrize("shortest", [9, 22, 23, 24])
def test_manual_registration_hands_out_no_password_that_the_first_login_refuses(shortest: int) -> None:
    rules = config.AccountSettings(registration="manual", password_min=shortest)
    made = credentials.fresh(rules, "a.example")
    assert credentials.refuse(rules, "a.example", made.address, made.password) is None
    assert not credentials.added_by_app(made.password)
    assert client("manual").simulate_post("/new").status_code == 200


def test_closed_registration_gives_a_reason() -> None:
    answer = client("closed").simulate_post("/new?token=x")
    assert (answer.status_code, list(answer.json)) == (403, ["reason"])


def test_a_token_makes_the_account_whose_credentials_are_handed_out(url: str) -> None:
    engine = open_store(url)
    token, _ = Tokens(engine).create(1, None)
    to = client("token", lambda: Tokens(engine))
    answer = to.simulate_post(f"/new?token={token}")
    assert answer.status_code == 200
    [account] = Accounts(engine).list()
    assert account.address == answer.json["email"]
    assert account.last_login is None
    assert PasswordHasher().verify(account.password_hash.removeprefix("{ARGON2ID}"), answer.json["password"])
    assert answer.headers["cache-control"] == "no-store"
    again = to.simulate_post(f"/new?token={token}")
    assert (again.status_code, list(again.json)) == (403, ["reason"])
    assert len(Accounts(engine).list()) == 1


@pytest.mark.parametrize(
    "query", ["", "?", "?token=", "?token=x", "?token=%00", "?token=%ff&token=y", "?other=x"]
)
def test_without_a_token_that_is_good_there_is_a_reason_and_no_account(url: str, query: str) -> None:
    engine = open_store(url)
    Tokens(engine).create(None, None)
    answer = client("token", lambda: Tokens(engine)).simulate_post(f"/new{query}")
    assert (answer.status_code, list(answer.json)) == (403, ["reason"])
    assert Accounts(engine).list() == ()


@pytest.mark.parametrize("registration", ["open", "token"])
@pytest.mark.parametrize("short", ["load", "memory", "disk"])
def test_without_room_the_answer_is_later_and_no_use_is_lost(
    url: str, registration: str, short: Shortage
) -> None:
    engine = open_store(url)
    token, _ = Tokens(engine).create(1, None)
    answer = client(registration, lambda: Tokens(engine), short).simulate_post(f"/new?token={token}")
    assert (answer.status_code, list(answer.json)) == (503, ["reason"])
    assert int(answer.headers["retry-after"]) > 0
    assert Tokens(engine).list()[0].used == 0
    assert Accounts(engine).list() == ()


def test_without_the_store_the_answer_is_later(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    answer = client("token").simulate_post("/new?token=s3cret")
    assert (answer.status_code, list(answer.json)) == (503, ["reason"])
    assert "reason=OperationalError" in caplog.text
    assert "s3cret" not in caplog.text


@pytest.mark.parametrize(
    ("registration", "says"),
    [("open", "dcaccount:"), ("manual", "dcaccount:"), ("token", "invitation"), ("closed", "operator")],
)
def test_the_page_says_how_to_get_an_account(registration: str, says: str) -> None:
    page = client(registration).simulate_get("/").text
    assert says in page
    assert ("<svg" in page) == (registration in ("open", "manual"))


class TestOnce:
    def test_is_opened_once_by_however_many_ask(self) -> None:
        calls: list[int] = []

        def opened() -> int:
            calls.append(1)
            return len(calls)

        ask = once(opened)
        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert ask() == 1
        assert calls == [1]

    def test_is_tried_again_as_long_as_it_fails(self) -> None:
        answers = iter([None, None, "there"])

        def opened() -> str:
            found = next(answers)
            if found is None:
                raise OSError("away")
            return found

        ask = once(opened)
        for _ in range(2):
            with pytest.raises(OSError, match="away"):
                ask()
        assert [ask(), ask()] == ["there", "there"]


def test_accounts_of_invitations_and_of_first_logins_are_counted_together(tmp_path: Path) -> None:
    settings = config.parse(
        '[mail]\ndomain = "a.example"\n[accounts]\nnew_per_minute = 3\nregistration = "token"'
    )
    (tmp_path / "table").touch()
    # As two programs that were not forked from one another have it.
    ours, theirs = (limits.limiter(settings.accounts, tmp_path / "table") for _ in range(2))
    assert theirs.take("2001:db8::", time.monotonic())
    tokens = Tokens(open_store(stores.made(tmp_path / "store.sqlite")))
    link, _ = tokens.create(9, None)
    app: falcon.App[Any, Any] = falcon.App()
    app.add_route("/new", NewAccountResource(settings, lambda: None, lambda: tokens, ours))
    to = testing.TestClient(app)

    def status(ip: str, token: str = link) -> int:
        answer = to.simulate_post("/new", params={"token": token}, headers={"X-Real-IP": ip})
        return int(answer.status_code)

    assert status("2001:db8::5", "guessed") == 403
    assert [status(f"2001:db8::{one}") for one in range(3)] == [200, 200, 429]
    assert not theirs.take("2001:db8::", time.monotonic())
    assert (status("192.0.2.1"), status("2001:db8:0:1::1")) == (200, 200)
    assert b"2001" not in (tmp_path / "table").read_bytes()


@pytest.mark.parametrize(("before", "after"), [(600, 240), (1, 600)])
def test_who_came_under_one_limit_may_come_under_another(tmp_path: Path, before: int, after: int) -> None:
    """An operator changed it, and the programs were restarted; the table is there until the host restarts."""
    (tmp_path / "table").touch()

    def limiter(per_minute: int) -> Limiter:
        text = f'[mail]\ndomain = "a.example"\n[accounts]\nnew_per_minute = {per_minute}\n'
        return limits.limiter(config.parse(text).accounts, tmp_path / "table")

    uptime = 86_400.0
    assert limiter(before).take("192.0.2.1", uptime)
    lowered = limiter(after)
    assert [lowered.take("192.0.2.1", uptime) for _ in range(after + 1)] == [True] * after + [False]
