"""`chatmailctl`: each noun, its table and its JSON, on a real store; `postqueue` is a script."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from chatmail_milter import config
from chatmail_milter.ctl.main import main
from chatmail_milter.ctl.output import ago
from chatmail_milter.store.accounts import Accounts
from chatmail_milter.store.endpoints import Endpoints
from chatmail_milter.store.engine import open_store
from chatmail_milter.store.peers import Peers

NOW = datetime.now(UTC)


@pytest.fixture(autouse=True)
def _umask() -> Iterator[None]:
    """The command sets one for its process, which here is that of all tests."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    url = f"sqlite:///{tmp_path}/store.sqlite"
    file = tmp_path / "chatmail.toml"
    file.write_text(f'[mail]\ndomain = "a.test"\n[store]\nurl = "{url}"\n')
    monkeypatch.setenv("CHATMAIL_CONFIG", str(file))
    return url


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def rows(*arguments: str) -> Any:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


def test_every_command_explains_itself() -> None:
    result = run("--help")
    assert result.exit_code == 0
    for name in ("account", "config", "endpoints", "gate", "peers", "queue", "route"):
        assert name in result.output
        assert run(name, "--help").exit_code == 0


class TestPeers:
    def test_table_and_json(self, store: str) -> None:
        peers = Peers(open_store(store))
        peers.record("b.test", "https", ok=True, latency=0.0123, reason=None, at=NOW)
        peers.record("b.test", "https", ok=False, latency=None, reason="connect", at=NOW)
        (row,) = rows("peers")
        assert (row["domain"], row["road"], row["attempts"], row["successes"]) == ("b.test", "https", 2, 1)
        assert row["mean_latency"] == pytest.approx(0.0123)
        assert datetime.fromisoformat(row["last_contact"]) == NOW.replace(microsecond=0)
        table = run("peers").output
        assert "12 ms" in table
        assert "connect 1" in table

    def test_none_yet(self) -> None:
        assert rows("peers") == []
        assert run("peers").output == "No peer has been contacted yet.\n"


class TestQueue:
    @pytest.fixture
    def postqueue(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        program = tmp_path / "postqueue"
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        program.write_text('#!/bin/sh\n[ "$1" = -j ] && cat "$0.json"\n')
        program.chmod(0o755)
        (tmp_path / "postqueue.json").write_text("")
        return tmp_path / "postqueue.json"

    def test_what_waits_and_why(self, postqueue: Path) -> None:
        # Not NOW: that is when the tests were collected, minutes before.
        arrived = int((datetime.now(UTC) - timedelta(minutes=5)).timestamp())
        message = {
            "queue_name": "deferred",
            "queue_id": "4BkX7d2wPz",
            "arrival_time": arrived,
            "message_size": 1234,
            "forced_expire": False,
            "sender": "u@a.test",
            "recipients": [
                {
                    "address": "x@b.test",
                    "delay_reason": "connect to b.test[192.0.2.1]:25: Connection refused",
                },
                {
                    "address": "y@b.test",
                    "delay_reason": "connect to b.test[192.0.2.1]:25: Connection refused",
                },
                {"address": "z@c.test"},
            ],
        }
        older = {**message, "queue_id": "OLDER", "arrival_time": arrived - 60, "recipients": []}
        postqueue.write_text(f"{json.dumps(message)}\n{json.dumps(older)}\n")
        first, second = rows("queue")
        assert first["queue_id"] == "OLDER"
        assert (second["queue"], second["sender"], second["size"]) == ("deferred", "u@a.test", 1234)
        assert second["recipients"] == ["x@b.test", "y@b.test", "z@c.test"]
        assert second["domains"] == ["b.test", "c.test"]
        assert second["reasons"] == ["connect to b.test[192.0.2.1]:25: Connection refused"]
        table = run("queue").output
        assert "5 min ago" in table
        assert "Connection refused" in table

    def test_empty(self, postqueue: Path) -> None:
        assert rows("queue") == []
        assert run("queue").output == "The queue is empty.\n"

    def test_postfix_that_does_not_run(self, postqueue: Path) -> None:
        postqueue.with_suffix("").write_text("#!/bin/sh\necho 'postqueue: fatal: down' >&2; exit 69\n")
        result = run("queue")
        assert result.exit_code == 1
        assert result.output.startswith("Error: see whether Postfix runs: ")


class TestEndpoints:
    def test_list_and_forget(self, store: str) -> None:
        endpoints = Endpoints(open_store(store))
        endpoints.failed("b.test", "connect", NOW, None)
        endpoints.worked("c.test", "mx.c.test", NOW, None)
        assert [row["domain"] for row in rows("endpoints", "list")] == ["b.test", "c.test"]
        assert "mx.c.test" in run("endpoints", "list").output
        assert run("endpoints", "forget", "B.test").output == "Forgot 1 domain.\n"
        assert run("endpoints", "forget", "--all").output == "Forgot 1 domain.\n"
        assert rows("endpoints", "list") == []

    def test_forget_wants_to_be_told_what(self) -> None:
        assert run("endpoints", "forget").exit_code == 2
        assert run("endpoints", "forget", "b.test", "--all").exit_code == 2


class TestRoute:
    def test_set_list_unset(self) -> None:
        assert run("route", "set", "B.test", "9.9.9.9", "--https", "only", "--no-verify").exit_code == 0
        assert rows("route", "list") == [
            {
                "domain": "b.test",
                "target": "9.9.9.9",
                "https": "only",
                "verify": False,
                "one_per_recipient": False,
            }
        ]
        assert "9.9.9.9" in run("route", "list").output
        assert run("route", "unset", "b.test").exit_code == 0
        assert run("route", "unset", "b.test").exit_code == 1

    def test_target_that_is_none(self) -> None:
        result = run("route", "set", "b.test", "http://b.test")
        assert result.exit_code == 2
        assert "write the URL as https://host" in result.output


def test_accounts(store: str) -> None:
    Accounts(open_store(store)).create("someone@a.test", "{ARGON2ID}x")
    assert [row["address"] for row in rows("account", "list")] == ["someone@a.test"]
    assert "ARGON2ID" not in run("account", "list").output
    assert run("account", "delete", "Someone@a.test").exit_code == 0
    assert run("account", "delete", "someone@a.test").exit_code == 1


class TestConfig:
    def test_example_documents_every_key_and_is_a_configuration(self) -> None:
        text = run("config", "example").output
        assert config.parse(text).mail.domain == "chat.example.org"
        for section in ("mail", "accounts", "inbound", "relay", "listen", "store"):
            assert f"[{section}]" in text
            for field in getattr(config.parse(text), section).__struct_fields__:
                assert f"{field} =" in text

    def test_defaults_of_the_example_are_the_defaults(self) -> None:
        lines = run("config", "example").output.splitlines()
        set_all = [line[1:] if line.startswith("#") and line[1:2].strip() else line for line in lines]
        text = "\n".join(line for line in set_all if not line.endswith(" ="))
        assert config.parse(text) == config.parse('[mail]\ndomain = "chat.example.org"')

    def test_show_is_the_configuration_in_force(self, tmp_path: Path) -> None:
        text = run("config", "show").output
        assert config.parse("\n".join(line for line in text.splitlines())) == config.load()
        assert 'max_message_size = "30MiB"' in text
        assert rows("config", "show")["relay"]["attempt_timeout"] == "30s"

    def test_check(self, tmp_path: Path) -> None:
        assert run("config", "check").exit_code == 0
        bad = tmp_path / "bad.toml"
        bad.write_text('[mail]\ndomian = "a.test"\n')
        result = run("config", "check", str(bad))
        assert result.exit_code == 78
        assert "mail.domian: no such key; the nearest is mail.domain" in result.output


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("9.9.9.9", ("9.9.9.9", 53)),
        ("127.0.0.1@5353", ("127.0.0.1", 5353)),
        ("2620:fe::fe", ("2620:fe::fe", 53)),
    ],
)
def test_nameservers_are_addresses_with_or_without_port(text: str, pair: tuple[str, int]) -> None:
    loaded = config.parse(f'[mail]\ndomain = "a.test"\n[relay]\nnameservers = ["{text}"]')
    assert [server.pair for server in loaded.relay.nameservers] == [pair]


@pytest.mark.parametrize("text", ["dns.test", "9.9.9", "9.9.9.9:53", "9.9.9.9@70000", ""])
def test_what_is_no_nameserver(text: str) -> None:
    with pytest.raises(config.ConfigError, match="nameservers"):
        config.parse(f'[mail]\ndomain = "a.test"\n[relay]\nnameservers = ["{text}"]')


def test_store_that_cannot_be_opened_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "elsewhere.toml"
    file.write_text(f'[mail]\ndomain = "a.test"\n[store]\nurl = "sqlite:///{tmp_path}/no/such/store"\n')
    monkeypatch.setenv("CHATMAIL_CONFIG", str(file))
    result = run("peers")
    assert result.exit_code == 1
    assert result.output.startswith("Error: run this as root, or check store.url: ")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s ago"),
        (59, "59 s ago"),
        (61, "1 min ago"),
        (7200, "2 h ago"),
        (200_000, "2 d ago"),
        (-90, "in 1 min"),
    ],
)
def test_ages(seconds: int, text: str) -> None:
    assert ago(NOW - timedelta(seconds=seconds), NOW) == text
