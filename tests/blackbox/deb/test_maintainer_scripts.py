"""The package's maintainer scripts when a step fails: run in a directory, with our commands on the PATH."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from deb import package, units

KEYS = ("store.key", "names.key")
DEFAULT = 'url = "sqlite:////var/lib/chatmail/store.sqlite"'
# What scripts may call of the host's; each says so in `called`, and succeeds.
COMMANDS = [
    *("chgrp", "chown", "deb-systemd-invoke", "getent", "groupdel", "install", "py3clean", "py3compile"),
    *("systemctl", "systemd-sysusers", "systemd-tmpfiles", "userdel"),
]
DIRECTORIES = [
    *("commands", "etc/chatmail", "etc/systemd/system", "lib/systemd/system", "run", "var/lib/chatmail"),
    *("usr/lib/chatmail-milter/bin", "usr/lib/sysusers.d", "usr/lib/tmpfiles.d", "var/lib/chatmail-milter"),
    "var/spool/postfix",
]


@dataclass
class StubHost:
    """A directory with /etc, /var, /run and /usr, and commands that do nothing."""

    root: Path

    def command(self, name: str, does: str = "exit 0") -> None:
        path = self.root / "commands" / name
        path.write_text(f'#!/bin/sh\necho "$(basename "$0") $*" >>"{self.root}/called"\n{does}\n', "utf-8")
        path.chmod(0o755)

    def run(self, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        text = re.sub(r"(?<![\w/.*])/(etc|var|run|usr|lib)/", rf"{self.root}/\1/", package.script(script))
        # In a setting of the operator's it is a path of the host, not of this test.
        text = text.replace(f"sqlite:///{self.root}", "sqlite:///")
        path = f"{self.root}/commands:{os.environ['PATH']}"
        return subprocess.run(
            ["sh", "-s", "--", *arguments],
            input=text, env={"PATH": path}, capture_output=True, text=True, check=False,
        )  # fmt: skip

    def called(self) -> list[str]:
        file = self.root / "called"
        return file.read_text("utf-8").splitlines() if file.exists() else []

    def booted(self) -> None:
        (self.root / "run/systemd/system").mkdir(parents=True)


@pytest.fixture
def host(tmp_path: Path) -> StubHost:
    for name in DIRECTORIES:
        (tmp_path / name).mkdir(parents=True)
    for name in ("sysusers.d", "tmpfiles.d"):
        (tmp_path / "usr/lib" / name / "chatmail-milter.conf").touch()
    made = StubHost(tmp_path)
    for name in COMMANDS:
        made.command(name)
    (tmp_path / "usr/lib/chatmail-milter/bin/chatmailctl").symlink_to(tmp_path / "commands/chatmailctl")
    made.command("chatmailctl")
    (tmp_path / "usr/lib/chatmail-milter/prepare").symlink_to(tmp_path / "commands/prepare")
    made.command("prepare")
    return made


@pytest.mark.parametrize(("script", "arguments"), [("prerm", ["remove"]), ("postinst", ["configure"])])
def test_a_host_without_systemd_running_is_a_chroot_whose_units_are_left_alone(
    host: StubHost, script: str, arguments: list[str]
) -> None:
    host.command("deb-systemd-invoke", "exit 1")
    host.command("systemctl", "exit 1")
    done = host.run(script, *arguments)
    assert done.returncode == 0, done.stderr
    assert not [line for line in host.called() if line.startswith(("deb-systemd-invoke", "systemctl"))]


def test_a_unit_that_does_not_stop_does_not_keep_the_package(host: StubHost) -> None:
    host.booted()
    host.command("deb-systemd-invoke", "exit 1")
    assert host.run("prerm", "remove").returncode == 0
    assert any(line.startswith("py3clean ") for line in host.called())


def test_byte_code_goes_also_where_python_is_half_removed(host: StubHost) -> None:
    (host.root / "commands/py3clean").unlink()
    cache = host.root / "usr/lib/chatmail-milter/lib/__pycache__"
    cache.mkdir(parents=True)
    commands = host.root / "commands"
    for name in ("sh", "find", "rm"):
        (commands / name).symlink_to(f"/usr/bin/{name}")
    text = package.script("prerm").replace("/usr/lib/", f"{host.root}/usr/lib/")
    subprocess.run(
        [commands / "sh", "-s", "remove"], input=text, env={"PATH": str(commands)}, text=True, check=True
    )
    assert not cache.exists()


# What `systemctl show` says of a unit's state, whether the configuration serves, and whether the old version
# listened where the new one does.
BRANCHES = [
    pytest.param("inactive", True, True, id="nothing runs"),
    pytest.param("active", True, True, id="restart"),
    pytest.param("active", True, False, id="stop and start"),
    pytest.param("active", False, True, id="a configuration that does not serve"),
]


@pytest.mark.parametrize(("state", "serves", "same"), BRANCHES)
@pytest.mark.parametrize("failing", ["deb-systemd-invoke", "systemctl"])
def test_a_unit_that_does_not_start_does_not_end_the_installation(
    host: StubHost, state: str, serves: bool, same: bool, failing: str
) -> None:
    host.booted()
    sockets(host, same)
    host.command("chatmailctl", f"exit {0 if serves else 78}")
    host.command(
        "systemctl", f'case "$1" in show) echo {state} ;; *) exit {int(failing == "systemctl")} ;; esac'
    )
    host.command("deb-systemd-invoke", f"exit {int(failing == 'deb-systemd-invoke')}")
    done = host.run("postinst", "configure", "0.1.0")
    assert done.returncode == 0, done.stderr
    assert not (host.root / "run/chatmail-milter.sockets").exists()


def test_what_is_stopped_for_an_upgrade_is_started_whether_it_is_enabled_or_not(host: StubHost) -> None:
    """deb-systemd-invoke starts no unit that is static, as those of a target are."""
    host.booted()
    sockets(host, same=False)
    milter = "chatmail-milter.socket"
    host.command(
        "systemctl", f'case "$*" in "show "*" {milter}") echo active ;; show*) echo inactive ;; esac'
    )
    assert host.run("postinst", "configure", "0.1.0").returncode == 0
    changes = [line for line in host.called() if re.search(r" (stop|start|restart) ", line)]
    assert changes == [f"deb-systemd-invoke stop {milter}", f"systemctl start {milter}"]


def test_units_that_are_no_more_are_stopped_and_new_ones_started(host: StubHost) -> None:
    host.booted()
    sockets(host, same=True)
    (host.root / "run/chatmail-milter.units").write_text(
        "chatmail-milter.service\nchatmail-old.socket\nchatmail-orders@.service\n", "utf-8"
    )
    host.command("systemctl", 'case "$*" in "show "*" chatmail.target") echo active ;; esac')
    assert host.run("postinst", "configure", "0.1.0").returncode == 0
    changes = [line for line in host.called() if re.search(r" (stop|start|restart) ", line)]
    assert changes == ["systemctl stop chatmail-old.socket", "deb-systemd-invoke start chatmail.target"]
    assert not (host.root / "run/chatmail-milter.units").exists()


def test_a_removal_that_was_given_up_leaves_the_relay_running_and_makes_nothing(host: StubHost) -> None:
    host.booted()
    assert host.run("postinst", "abort-remove").returncode == 0
    assert host.called() == ["deb-systemd-invoke start chatmail.target"]


@pytest.mark.parametrize(
    ("setting", "kept"),
    [
        ('url = "postgresql+psycopg://chatmail@db.example/chatmail"', True),
        ("  url='postgresql://chatmail@db.example/chatmail'", True),
        ('store = {url = "postgresql:///chatmail"}', True),
        ('url = "sqlite:////srv/chatmail/store.sqlite"', True),
        (DEFAULT, False),
        (f"# {DEFAULT}\n", False),
        ('# url = "postgresql:///chatmail"', False),
        ("", False),
    ],
)
def test_a_purge_leaves_the_keys_of_a_store_that_is_elsewhere(
    host: StubHost, setting: str, kept: bool
) -> None:
    configured(host, f"[store]\n{setting}\n")
    done = host.run("postrm", "purge")
    assert done.returncode == 0, done.stderr
    assert [(host.root / "etc/chatmail" / name).exists() for name in KEYS] == [kept, kept]
    assert ("kept: /etc/chatmail/*.key" in done.stdout.replace(str(host.root), "")) is kept
    assert not (host.root / "etc/chatmail/chatmail.toml").exists()


def test_a_purge_without_a_trace_of_the_installation_is_no_error(host: StubHost) -> None:
    (host.root / "var/lib/chatmail-milter").rmdir()
    assert host.run("postrm", "purge").returncode == 0


def sockets(host: StubHost, same: bool) -> None:
    """The socket units, and what preinst kept of the old ones."""
    known = units.variables()
    names = known["chatmail_sockets"] + known["chatmail_admin_sockets"] + known["chatmail_webimap_sockets"]
    for name in names:
        (host.root / "lib/systemd/system" / name).write_text(name, "utf-8")
    (host.root / "run/chatmail-milter.sockets").write_text("".join(names) if same else "", "utf-8")


def configured(host: StubHost, text: str) -> None:
    place = host.root / "etc/chatmail"
    (place / "chatmail.toml").write_text(f'[mail]\ndomain = "a.example"\n{text}', "utf-8")
    for name in KEYS:
        (place / name).touch()
    (host.root / "var/lib/chatmail/store.sqlite").touch()
