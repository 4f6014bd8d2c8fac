"""`chatmail-hooks` under gunicorn, as Dovecot calls it; both gunicorn programs with a bad configuration."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.blackbox.served import Served, WholeAnswer, served

UNIT = Path(__file__).parents[3] / "ansible/roles/chatmail/templates/units/chatmail-hooks.service.j2"
SECRET = "5ec2e7" * 8
ALICE, CAROL = "alice123@a.example", "carol123@a.example"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    directory = tmp_path_factory.mktemp("hooks")
    (directory / "secret").write_text(f"{SECRET}\n")
    (directory / "store.sqlite").touch()
    (directory / "chatmail.toml").write_text(
        f"[mail]\ndomain = 'a.example'\n[store]\nurl = 'sqlite:///{directory}/store.sqlite'\n"
        "[accounts]\nnew_per_minute = 1\n[limits]\nload = 0\nmemory = '0B'\ndisk = '0B'\n"
    )
    return {
        "CHATMAIL_CONFIG": str(directory / "chatmail.toml"),
        "CHATMAIL_HOOKS_SECRET": str(directory / "secret"),
    }


@pytest.fixture(scope="module")
def hooks(tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]) -> Iterator[Served]:
    directory = tmp_path_factory.mktemp("served")
    with served("mxdeliv_app.dovecot.hooks.app:app_from_environment()", directory, environment) as app:
        yield app


def ask(hooks: Served, question: str, **what: Any) -> WholeAnswer:
    fields = [("Content-Type", "application/json"), ("X-Chatmail-Secret", SECRET)]
    return hooks.request("POST", f"/dovecot/{question}", fields, json.dumps(what).encode())


def test_first_logins_at_once_make_one_account_across_processes(hooks: Served) -> None:
    with ThreadPoolExecutor(10) as pool:
        passwords = [f"correct horse {i}" for i in range(10)]
        answers = list(pool.map(lambda one: ask(hooks, "create", user=ALICE, password=one), passwords))
    assert sorted(answer.status for answer in answers) == [201] + [409] * 9
    winner = next(answer for answer in answers if answer.status == 201)
    assert ask(hooks, "lookup", user=ALICE).json["password"] == winner.json["password"]
    assert ask(hooks, "login", user=ALICE).status == 204


def test_the_limit_of_first_logins_holds_across_processes(hooks: Served) -> None:
    with ThreadPoolExecutor(20) as pool:
        names = [f"limited{i:03}@a.example" for i in range(40)]
        who = [{"user": one, "password": "x" * 9, "ip": "192.0.2.9"} for one in names]
        made = list(pool.map(lambda one: ask(hooks, "create", **one), who))
    assert sorted(answer.status for answer in made) == [201] + [429] * 39


def test_an_order_of_chatmailctl_is_obeyed_by_every_process_when_it_returns(
    hooks: Served, environment: dict[str, str]
) -> None:
    """Eight at a time, so that each of gunicorn's processes is asked while it holds an older policy."""
    ask(hooks, "create", user=CAROL, password="correct horse", ip="198.51.100.7")

    def statuses(ip: str) -> set[int]:
        with ThreadPoolExecutor(8) as pool:
            return {
                one.status for one in pool.map(lambda _: ask(hooks, "lookup", user=CAROL, ip=ip), range(40))
            }

    for order, ip, status in [
        (("account", "suspend", CAROL), "198.51.100.7", 423),
        (("account", "resume", CAROL), "198.51.100.7", 200),
        (("block", "add", "192.0.2.0/24"), "192.0.2.7", 423),
        (("block", "remove", "192.0.2.0/24"), "192.0.2.7", 200),
        (("block", "add", CAROL), "198.51.100.7", 423),
        (("block", "remove", CAROL), "198.51.100.7", 200),
    ]:
        statuses(ip)
        program = Path(sys.executable).with_name("chatmailctl")
        subprocess.run([program, *order], env=os.environ | environment, check=True, capture_output=True)
        assert statuses(ip) == {status}, order
        assert ask(hooks, "lookup", user=CAROL).status == 200, "deliveries go on"


def test_without_a_store_there_is_an_answer_and_with_it_the_right_one(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    settings = tmp_path / "chatmail.toml"
    settings.write_text(
        f"[mail]\ndomain = 'a.example'\n[store]\nurl = 'sqlite:///{tmp_path}/later/store.sqlite'\n"
        "[limits]\nload = 0\nmemory = '0B'\ndisk = '0B'\n"
    )
    changed = environment | {"CHATMAIL_CONFIG": str(settings)}
    with served("mxdeliv_app.dovecot.hooks.app:app_from_environment()", tmp_path, changed) as app:
        for question in ("lookup", "create", "login"):
            answer = ask(app, question, user=ALICE, password="correct horse")
            assert (answer.status, answer.headers.get("retry-after")) == (503, None)
        (tmp_path / "later").mkdir()
        (tmp_path / "later" / "store.sqlite").touch()
        assert ask(app, "lookup", user=ALICE).status == 404
        assert ask(app, "create", user=ALICE, password="correct horse").status == 201


def test_while_many_accounts_are_made_those_that_are_there_are_found(hooks: Served) -> None:
    """All threads but a few hash, or wait for it: a look-up waits for none of them."""
    ask(hooks, "create", user="dora1234@a.example", password="correct horse")
    with ThreadPoolExecutor(30) as pool:
        made = [
            pool.submit(ask, hooks, "create", user=f"storm{i:03}@a.example", password="correct horse")
            for i in range(300)
        ]
        found = 0
        while not all(one.done() for one in made):
            assert ask(hooks, "lookup", user="dora1234@a.example").status == 200
            found += 1
    assert {one.result().status for one in made} == {201}
    # One after the other they would be as many as the look-ups that fit between.
    assert found > 10


def test_what_hashes_of_passwords_take_of_memory_goes_back(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    # As the unit says it; libc would keep 4 MiB for about each thread that hashed once.
    variables = re.findall("(?m)^Environment=(MALLOC_.*)=(.*)$", UNIT.read_text())
    application, single = "mxdeliv_app.dovecot.hooks.app:app_from_environment()", ("--workers", "1")
    with served(application, tmp_path, environment | dict(variables), single) as app:

        def made(number: int) -> int:
            return ask(app, "create", user=f"memory{number:03}@a.example", password="correct horse").status

        assert made(0) == 201
        before = app.own_memory
        with ThreadPoolExecutor(20) as pool:
            assert set(pool.map(made, range(1, 60))) == {201}
        assert app.own_memory - before < 8 << 20


def test_nobody_is_answered_without_the_secret(hooks: Served) -> None:
    assert hooks.request("POST", "/dovecot/lookup", [], b'{"user": "x"}').status == 401


def test_the_log_names_nobody_and_no_password(hooks: Served) -> None:
    ask(hooks, "create", user="bob12345@a.example", password="s3cret horse")
    ask(hooks, "create", user="Mallory1@a.example", password="s3cret horse")
    assert "event=account-created" in hooks.log
    assert "event=account-refused" in hooks.log
    for secret in ("bob12345", "allory", "s3cret", SECRET, CAROL, "192.0.2.7", "198.51.100.7"):
        assert secret not in hooks.log


GOOD = "[mail]\ndomain = 'a.example'\n"


@pytest.mark.parametrize(
    ("module", "text", "secret", "says"),
    [
        ("web.app", f"{GOOD}max_mesage_size = '1MiB'\n", SECRET, "nearest is mail.max_message_size"),
        (
            "dovecot.hooks.app",
            f"{GOOD}max_mesage_size = '1MiB'\n",
            SECRET,
            "nearest is mail.max_message_size",
        ),
        ("web.app", "[mail]\ndomain = 'a..example'\n", SECRET, "mail.domain"),
        ("web.app", None, SECRET, "can't be read"),
        ("dovecot.hooks.app", GOOD, "short", "secret is too short"),
    ],
)
def test_a_bad_environment_is_one_line_and_no_start(
    tmp_path: Path, module: str, text: str | None, secret: str, says: str
) -> None:
    if text is not None:
        (tmp_path / "chatmail.toml").write_text(text)
    (tmp_path / "secret").write_text(secret)
    ran = subprocess.run(
        [sys.executable, "-m", "gunicorn", "-c", "python:mxdeliv_app.serving.gunicorn_conf",
         "--bind", f"unix:{tmp_path}/app.sock", f"mxdeliv_app.{module}:app_from_environment()"],
        env={
            **os.environ,
            "CHATMAIL_CONFIG": str(tmp_path / "chatmail.toml"),
            "CHATMAIL_HOOKS_SECRET": str(tmp_path / "secret"),
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )  # fmt: skip
    assert ran.returncode == 78
    assert says in ran.stderr
    assert ran.stderr.count("\n") == 1
