"""`chatmailctl` commands on a real store: table and JSON of each noun but peers and queue."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from chatmail_milter import config
from chatmail_milter.ctl.output import ago, percent, size
from chatmail_milter.store.endpoint_hosts import EndpointHosts
from chatmail_milter.store.endpoints import Endpoints
from chatmail_milter.store.engine import open_store
from tests.unit.chatmailctl import rows, run

pytestmark = pytest.mark.usefixtures("store")
NOW = datetime.now(UTC)


def test_every_command_explains_itself() -> None:
    result = run("--help")
    assert result.exit_code == 0
    names = ("account", "block", "config", "endpoints", "federation", "gate", "peers", "queue", "route")
    for name in names:
        assert name in result.output
        assert run(name, "--help").exit_code == 0


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

    def test_list_says_in_words_what_hosts_have_shown(self, store: str) -> None:
        hosts = EndpointHosts(open_store(store))
        hosts.proved("b.test", "mx.b.test", NOW)
        hosts.limited("b.test", "mx.b.test", 1_048_577, NOW)
        hosts.disproved("c.test", "c.test", NOW)
        hosts.disproved("d.test", "d.test", NOW - timedelta(hours=2))
        text = run("endpoints", "list").output
        assert "mx.b.test proved to be a chatmail server; tested again in 23 h" in text
        assert "mx.b.test refuses 1.05 MB and more: by SMTP, tried again in 23 h" in text
        # (NOW may be some minutes ago where the machine is busy.)
        assert re.search(
            r"c\.test accepts everything, so it is not a chatmail server; tested again in [1-5]\d min", text
        )
        assert "d.test" not in text
        found = {row["domain"]: row["hosts"] for row in rows("endpoints", "list")}
        assert found.keys() == {"b.test", "c.test"}
        assert found["b.test"][0]["size_limit"] == 1_048_577
        assert run("endpoints", "forget", "--all").output == "Forgot 3 domains.\n"

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
        assert run("route", "remove", "b.test").exit_code == 0
        assert run("route", "remove", "b.test").exit_code == 1

    @pytest.mark.parametrize("command", ["set", "remove"])
    def test_what_was_learnt_on_the_way_as_it_was_is_forgotten(self, store: str, command: str) -> None:
        run("route", "set", "b.test", "9.9.9.9")
        endpoints = Endpoints(open_store(store))
        endpoints.failed("b.test", "connect", NOW, None)
        endpoints.failed("c.test", "connect", NOW, None)
        assert run("route", command, "b.test").exit_code == 0
        assert [one.domain for one in endpoints.list()] == ["c.test"]

    @pytest.mark.parametrize("https", ["prefer", "only", "never"])
    @pytest.mark.parametrize(
        "target", [None, "mx.b.test", "192.0.2.1", "2001:db8::1", "https://b.test:8443/in"]
    )
    def test_all_that_a_route_can_say(self, https: str, target: str | None) -> None:
        words = ["b.test", *([target] if target else []), "--https", https, "--verify", "--one-per-recipient"]
        assert run("route", "set", *words).exit_code == 0
        (row,) = rows("route", "list")
        assert (row["target"], row["https"]) == (target, https)
        assert (row["verify"], row["one_per_recipient"]) == (True, True)

    @pytest.mark.parametrize(
        "words",
        [
            [],
            ["b..test"],
            ["b.test", "mx.b.test", "--https", "maybe"],
            ["b.test", "mx.b.test:25"],
            ["b.test", "https://b.test/\x1b[2J"],
            ["b.test", "mx.b.test", "extra"],
        ],
    )
    def test_bad_input_is_refused_and_changes_nothing(self, words: list[str]) -> None:
        result = run("route", "set", *words)
        assert result.exit_code == 2
        assert "\x1b" not in result.output
        assert rows("route", "list") == []

    def test_target_that_is_none(self) -> None:
        result = run("route", "set", "b.test", "http://b.test")
        assert result.exit_code == 2
        assert "write the URL as https://host" in result.output


class TestConfig:
    def test_example_documents_every_key_and_is_a_configuration(self) -> None:
        text = run("config", "example").output
        assert config.parse(text).mail.domain == "chat.example.org"
        for section in ("mail", "accounts", "submission", "inbound", "relay", "listen", "store"):
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
        assert 'max_message_size = "72MiB"' in text
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


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (0, "0 B"),
        (9_999, "9999 B"),
        (10_000, "10 kB"),
        (999_499, "999 kB"),
        (2_469_000, "2.47 MB"),
        (30 << 20, "31.5 MB"),
        (2 * 10**9, "2 GB"),
        (7 * 10**15, "7000 TB"),
    ],
)
def test_sizes_have_a_unit(octets: int, text: str) -> None:
    assert size(octets) == text


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [(0, 0, "-"), (0, 3, "0 %"), (2, 3, "66.6 %"), (9999, 10000, "99.9 %"), (7, 7, "100 %")],
)
def test_shares_are_never_rounded_up_to_all(part: int, whole: int, text: str) -> None:
    assert percent(part, whole) == text


@pytest.mark.parametrize(
    ("earlier", "now"),
    [(("route", "unset"), ("route", "remove")), (("token", "revoke"), ("token", "remove"))],
)
def test_the_earlier_name_of_a_command_does_the_same_with_a_warning_and_is_in_no_list(
    earlier: tuple[str, str], now: tuple[str, str]
) -> None:
    said, says = run(*earlier, "nothing.test"), run(*now, "nothing.test")
    assert (said.exit_code, says.exit_code) == (1, 1)
    assert said.stderr.startswith("DeprecationWarning: ")
    assert said.stderr.endswith(says.stderr)
    assert earlier[1] not in run(earlier[0], "--help").output


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
