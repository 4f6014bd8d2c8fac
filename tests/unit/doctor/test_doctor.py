"""`chatmailctl doctor`: the findings of each check for given facts of the host, and what it prints."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy.exc import OperationalError

from chatmail_milter.ctl import doctor as command
from chatmail_milter.ctl.main import main
from chatmail_milter.doctor import (
    Finding,
    FindingState,
    aliases,
    certificates,
    good,
    machine,
    ports,
    queue,
    records,
    services,
    sockets,
    unknown,
)
from chatmail_milter.doctor import store as store_check
from chatmail_milter.doctor.certificates import ServedCertificate
from tests.unit.doctor.found import states

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


def systemd(*, conflicts: str = "shutdown.target", **active: str) -> services.Show:
    def show(units: Sequence[str]) -> list[Mapping[str, str]]:
        def of(unit: str) -> Mapping[str, str]:
            wants = "chatmail-milter.service mxdeliv-app.socket" if unit == services.OURS else ""
            state = active.get(unit.partition(".")[0].replace("-", "_").rstrip("@_"), "active")
            loaded = "not-found" if state == "absent" else "loaded"
            known = {"Id": unit, "LoadState": loaded, "ActiveState": state, "NRestarts": "0", "Wants": wants}
            return known | {"Conflicts": conflicts}

        return [of(unit) for unit in units]

    return show


class TestAliases:
    CHAT = ("chat.test", "a.chat.test")

    def check(self, tmp_path: Path, parameters: Mapping[str, str], tables: Mapping[str, str] = {}) -> Any:
        """`parameters` of main.cf; `tables`: what postmap(1) prints of each."""
        (tmp_path / "home").mkdir(exist_ok=True)

        def run(command: Sequence[str]) -> str:
            if command[0].endswith("postmap"):
                if command[2] not in tables:
                    raise subprocess.CalledProcessError(1, command)
                return tables[command[2]]
            return f"{parameters.get(command[2], '')}\n"

        return states(aliases.check(self.CHAT, run, lambda: [tmp_path / "home"]))

    @pytest.mark.parametrize(
        ("printed", "is_bad"),
        [
            ("info@other.test u@chat.test\n", True),
            ("info@other.test\tv@other.test, U@A.Chat.TEST.\n", True),
            ("@other.test @chat.test\n", True),
            ('root: "|program", u@chat.test\n', True),
            ("info@other.test v@other.test\n", False),
            ("info@other.test u@notchat.test\n", False),
            ("info@other.test u@chat.test.example\n", False),
            ("u@chat.test v@chat.test\n", False),
            ("u@chat.test v@other.test\n", False),
        ],
    )
    def test_an_alias_of_another_domain_that_leads_into_a_chat_domain_is_bad(
        self, tmp_path: Path, printed: str, is_bad: bool
    ) -> None:
        found = self.check(
            tmp_path, {"alias_maps": "hash:/etc/x, btree:/y"}, {"hash:/etc/x": printed, "btree:/y": ""}
        )
        assert found == (
            {"alias_maps, hash:/etc/x": FindingState.BAD} if is_bad else {"all": FindingState.GOOD}
        )

    def test_so_is_one_in_a_text_or_a_parameter_or_an_included_file(self, tmp_path: Path) -> None:
        (tmp_path / "table").write_text(
            "# x@other.test u@chat.test\n/^(.*)@other/ v@w.test,\n  $1@chat.test\n"
        )
        (tmp_path / "list").write_text("u@chat.test\n")
        parameters = {
            "virtual_alias_maps": f"proxy:regexp:{tmp_path}/table hash:/lists",
            "recipient_bcc_maps": "inline:{ { x@other.test = u@chat.test } }",
            "canonical_maps": "inline:{ { x@other.test = u@w.test } }",
            "always_bcc": "u@chat.test",
        }
        found = self.check(tmp_path, parameters, {"hash:/lists": f"list: :include:{tmp_path}/list\n"})
        assert found == dict.fromkeys(
            (
                f"virtual_alias_maps, regexp:{tmp_path}/table", "virtual_alias_maps, hash:/lists",
                "recipient_bcc_maps", "always_bcc",
            ), FindingState.BAD,
        )  # fmt: skip

    def test_what_can_not_be_listed_is_unknown(self, tmp_path: Path) -> None:
        found = self.check(tmp_path, {"virtual_alias_maps": "ldap:/etc/ldap.cf, hash:/missing"})
        assert found == {
            "virtual_alias_maps, ldap:/etc/ldap.cf": FindingState.UNKNOWN,
            "virtual_alias_maps, hash:/missing": FindingState.UNKNOWN,
        }
        away = states(aliases.check(self.CHAT, lambda _: (_ for _ in ()).throw(FileNotFoundError()), list))
        assert away == {"postconf": FindingState.UNKNOWN}

    @pytest.mark.parametrize("name", [".forward", ".forward+lists"])
    def test_a_users_forward_file_is_looked_at(self, tmp_path: Path, name: str) -> None:
        parameters = {"forward_path": "$home/.forward${recipient_delimiter}${extension}, $home/.forward"}
        assert self.check(tmp_path, parameters) == {"all": FindingState.GOOD}
        (tmp_path / "home" / name).write_text("v@other.test, u@chat.test\n")
        assert self.check(tmp_path, parameters)[str(tmp_path / "home" / name)] is FindingState.BAD
        assert self.check(tmp_path, {"forward_path": ""}) == {"all": FindingState.GOOD}

    def test_a_user_can_not_make_it_wait_or_look_elsewhere(self, tmp_path: Path) -> None:
        self.check(tmp_path, {})
        (tmp_path / "elsewhere").write_text("u@chat.test")
        os.mkfifo(tmp_path / "home/.forward+fifo")
        (tmp_path / "home/.forward").symlink_to(tmp_path / "elsewhere")
        parameters = {"forward_path": "$home/.forward${recipient_delimiter}${extension}, $home/.forward"}
        assert self.check(tmp_path, parameters) == {"all": FindingState.GOOD}

    def test_where_all_mail_is_checked_postfix_is_not_asked(self) -> None:
        def never(command: Sequence[str]) -> str:
            raise AssertionError(command)

        assert states(aliases.check((), never)) == {"all": FindingState.GOOD}


def test_services_that_run_are_good() -> None:
    found = states(services.check(systemd()))
    assert set(found.values()) == {FindingState.GOOD}
    assert {"chatmail-milter.service", "mxdeliv-app.socket", *services.STOCK} == found.keys()


def test_a_postfix_that_is_no_instance_is_asked_for_by_its_own_name() -> None:
    # As in Debian 13, where nobody starts the instance.
    found = states(services.check(systemd(conflicts="shutdown.target postfix@-.service", postfix="failed")))
    assert "postfix@-.service" not in found
    assert [what for what, how in found.items() if how is FindingState.BAD] == ["postfix.service"]


@pytest.mark.parametrize("state", ["failed", "inactive", "activating", "absent"])
def test_a_service_that_does_not_run_is_bad(state: str) -> None:
    found = states(services.check(systemd(chatmail_milter=state, dovecot=state)))
    assert [what for what, how in found.items() if how is FindingState.BAD] == [
        "chatmail-milter.service", "dovecot.service",
    ]  # fmt: skip


def test_a_host_without_the_relay_or_without_systemd_is_said_to_be_so() -> None:
    assert states(services.check(systemd(chatmail="absent")))[services.OURS] is FindingState.BAD

    def away(_units: Sequence[str]) -> list[Mapping[str, str]]:
        raise FileNotFoundError("systemctl")

    assert states(services.check(away)) == {"systemd": FindingState.UNKNOWN}


SS = """\
LISTEN 0 100 0.0.0.0:25 0.0.0.0:* users:(("smtpd",pid=7,fd=6),("master",pid=1,fd=1))
LISTEN 0 100 [::]:25 [::]:* users:(("master",pid=1,fd=2))
LISTEN 0 100 0.0.0.0:465 0.0.0.0:* users:(("exim4",pid=1,fd=1))
LISTEN 0 100 127.0.0.1:587 0.0.0.0:* users:(("master",pid=1,fd=1))
LISTEN 0 511 *:443 *:* users:(("nginx",pid=2,fd=1),("nginx",pid=3,fd=1))
LISTEN 0 511 0.0.0.0:993 0.0.0.0:*
"""


def test_ports_are_known_by_who_listens() -> None:
    assert ports.parse(SS) == {25: {"smtpd", "master"}, 465: {"exim4"}, 443: {"nginx"}, 993: set()}
    found = states(ports.check(lambda: ports.parse(SS)))
    assert {what for what, how in found.items() if how is FindingState.GOOD} == {"25", "443", "993"}
    assert {what for what, how in found.items() if how is FindingState.BAD} == {"80", "143", "465", "587"}


@pytest.mark.parametrize(("mode", "state"), [(0o666, FindingState.BAD), (0o660, FindingState.GOOD)])
def test_a_socket_is_bad_if_anybody_can_connect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, state: FindingState
) -> None:
    monkeypatch.setattr(sockets, "_is_reached", lambda path: "inner" not in path.parts)
    (tmp_path / "inner").mkdir()
    with socket.socket(socket.AF_UNIX) as one, socket.socket(socket.AF_UNIX) as hidden:
        one.bind(str(tmp_path / "s"))
        hidden.bind(str(tmp_path / "inner" / "s"))
        (tmp_path / "s").chmod(mode)
        (tmp_path / "inner" / "s").chmod(0o666)
        assert set(states(sockets.check((tmp_path,))).values()) == {state}


def test_no_socket_is_no_proof(tmp_path: Path) -> None:
    assert states(sockets.check((tmp_path,))) == {"all": FindingState.UNKNOWN}


@pytest.mark.parametrize(
    ("name", "days", "error", "state"),
    [
        ("a.example", 60, "", FindingState.GOOD),
        ("a.example", 13, "", FindingState.SOON),
        ("a.example", -1, "certificate has expired", FindingState.BAD),
        ("a.example", 60, "self-signed certificate", FindingState.BAD),
        # Nobody verifies these.
        ("_a.example", 60, "self-signed certificate", FindingState.GOOD),
        ("[192.0.2.1]", 60, "self-signed certificate", FindingState.GOOD),
        ("_a.example", -1, "self-signed certificate", FindingState.BAD),
    ],
)
def test_a_certificate_is_for_the_name_and_for_a_while(
    name: str, days: int, error: str, state: FindingState
) -> None:
    found = certificates.check(
        [name, name], [], NOW, lambda *_: ServedCertificate(NOW + timedelta(days, hours=1), error)
    )
    assert states(found) == {f"{name}:{port}": state for port in (443, 465, 587, 993)}


def test_servers_that_deliver_ask_for_the_name_of_the_mx_on_port_25() -> None:
    asked = set()

    def look(name: str, port: int) -> ServedCertificate:
        asked.add((name, port))
        return ServedCertificate(NOW + timedelta(60), "")

    found = states(certificates.check(["a.example", "mx.example"], ["mx.example"], NOW, look))
    assert {port for name, port in asked if name == "a.example"} == {443, 465, 587, 993}
    assert {port for name, port in asked if name == "mx.example"} == {25, 443, 465, 587, 993}
    assert found.keys() == {f"{name}:{port}" for name, port in asked}


def test_a_port_without_tls_is_no_certificate() -> None:
    def refuse(_name: str, _port: int) -> ServedCertificate:
        raise ConnectionRefusedError("refused")

    assert set(states(certificates.check(["a.example"], [], NOW, refuse)).values()) == {FindingState.UNKNOWN}


def test_the_clock_is_the_networks() -> None:
    def away() -> bool:
        raise subprocess.CalledProcessError(1, "timedatectl")

    found = [states(machine.check_clock(clock))["clock"] for clock in (lambda: True, lambda: False, away)]
    assert found == [FindingState.GOOD, FindingState.SOON, FindingState.UNKNOWN]


@pytest.mark.parametrize(
    ("free", "inodes", "found"),
    [
        (50, 50, [FindingState.GOOD, FindingState.GOOD]),
        (9, 50, [FindingState.SOON, FindingState.GOOD]),
        (2, 50, [FindingState.BAD, FindingState.GOOD]),
        (50, 2, [FindingState.GOOD, FindingState.BAD]),
    ],
)
def test_a_disk_has_room(free: int, inodes: int, found: list[FindingState]) -> None:
    def stat(_place: Path) -> os.statvfs_result:
        return os.statvfs_result((4096, 4096, 100, free, free, 100, inodes, inodes, 0, 255))

    # Two places of one file system are looked at once.
    assert list(states(machine.check_disks([Path("/a"), Path("/b")], stat)).values()) == found


@dataclass
class OldMessage:
    queue: str
    arrived: datetime
    domains: tuple[str, ...] = ("b.example",)


@pytest.mark.parametrize(
    ("messages", "found"),
    [
        ([], {"all": FindingState.GOOD}),
        (None, {"all": FindingState.UNKNOWN}),
        ([OldMessage("active", NOW)], {"all": FindingState.GOOD}),
        ([OldMessage("deferred", NOW - timedelta(hours=2))], {"all": FindingState.SOON}),
        ([OldMessage("deferred", NOW - timedelta(hours=25))], {"all": FindingState.BAD}),
        (
            [OldMessage("hold", NOW - timedelta(hours=25))],
            {"held": FindingState.SOON, "all": FindingState.GOOD},
        ),
    ],
)
def test_a_queue_that_moves_is_good(
    messages: list[OldMessage] | None, found: dict[str, FindingState]
) -> None:
    assert states(queue.check(messages, NOW)) == found


def test_the_domain_that_waits_longest_is_to_be_probed() -> None:
    waiting = [
        OldMessage("deferred", NOW - timedelta(hours=2), (d,))
        for d in ("b.example", "c.example", "c.example")
    ]
    (finding,) = queue.check(waiting, NOW)
    assert finding.mend == "chatmailctl probe 'c.example'"


def test_what_is_no_domain_is_no_part_of_a_command(monkeypatch: pytest.MonkeyPatch, store: str) -> None:
    waiting = [OldMessage("deferred", NOW - timedelta(hours=2), ("x\x1b]2;y\x07$(id)",))]
    (finding,) = queue.check(waiting, NOW)
    assert finding.mend == "chatmailctl queue"
    monkeypatch.setattr(command, "CHECKS", {"queue": lambda _: iter([finding])})
    assert "\x1b" not in CliRunner().invoke(main, ["doctor"]).output


def test_records_are_those_of_the_file(tmp_path: Path) -> None:
    zone = tmp_path / "zone"
    zone.write_text("a.example. 60 IN A 192.0.2.1\na.example. 60 IN MX 10 a.example.\n")
    answers = {"A": {"192.0.2.1"}, "MX": set[str]()}
    found = list(records.check(zone, lambda one: answers[one.rdtype.name]))
    assert [one.state for one in found] == [FindingState.GOOD, FindingState.BAD]
    assert found[1].mend == "publish: a.example. MX 10 a.example."
    assert states(records.check(zone, lambda _: None)) == {
        "a.example A": FindingState.UNKNOWN, "a.example MX": FindingState.UNKNOWN,
    }  # fmt: skip
    assert states(records.check(tmp_path / "none")) == {"all": FindingState.UNKNOWN}


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("mx.example.", FindingState.GOOD),
        ("pool.isp.example.", FindingState.SOON),
        ("", FindingState.SOON),
        (None, FindingState.UNKNOWN),
    ],
)
def test_an_address_has_the_hosts_name(name: str | None, state: FindingState) -> None:
    found = records.check_reverse("mx.example", ["192.0.2.1"], lambda _: name)
    assert states(found) == {"192.0.2.1 PTR": state}


def test_a_store_that_fails_says_what_mends_it(store: str) -> None:
    def locked(_url: str) -> str:
        raise OperationalError("", {}, Exception("database is locked"))

    (finding,) = store_check.check(store, locked)
    assert (finding.state, finding.mend.partition(":")[0]) == (FindingState.BAD, "try again")
    assert states(store_check.check(store)) == {"store": FindingState.GOOD}


BAD = Finding("queue", "all", FindingState.BAD, "3 messages", "users wait", "chatmailctl queue")


@pytest.mark.parametrize(
    ("found", "status"),
    [
        ([good("a", "b", "c")], 0),
        ([unknown("a", "b", "c"), good("a", "b", "c")], 3),
        ([unknown("a", "b", "c"), BAD], 1),
    ],
)
def test_exit_status_says_whether_anything_needs_doing(
    found: list[Finding], status: int, monkeypatch: pytest.MonkeyPatch, store: str
) -> None:
    monkeypatch.setattr(command, "CHECKS", {"queue": lambda _: iter(found)})
    assert CliRunner().invoke(main, ["doctor"]).exit_code == status


def test_what_is_bad_comes_first_with_why_and_how(monkeypatch: pytest.MonkeyPatch, store: str) -> None:
    monkeypatch.setattr(command, "CHECKS", {"queue": lambda _: iter([good("a", "b", "c"), BAD])})
    said = CliRunner().invoke(main, ["doctor"]).output
    assert said.splitlines() == [
        "bad: queue, all: 3 messages",
        "    why:  users wait",
        "    fix:  chatmailctl queue",
        "Good: 1 of 2. `--all` shows them.",
    ]
    assert "b" in CliRunner().invoke(main, ["doctor", "--all"]).output


def test_json_has_all_of_it(monkeypatch: pytest.MonkeyPatch, store: str) -> None:
    monkeypatch.setattr(command, "CHECKS", {"queue": lambda _: iter([BAD])})
    (said,) = json.loads(CliRunner().invoke(main, ["doctor", "--json"]).output)
    assert said == {
        "subject": "queue", "what": "all", "state": "bad", "found": "3 messages", "why": "users wait",
        "mend": "chatmailctl queue",
    }  # fmt: skip
