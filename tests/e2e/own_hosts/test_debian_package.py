"""The Debian package on a plain Debian 12 host: installed, upgraded while in use, purged.

The upgrade is done by the commands of docs/debian-package.md, from the installation to the removal.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.lab import Lab, passing
from tests.lab.host import LabHost
from tests.lab.plan import DEB, REPOSITORY
from tests.lab.wait import until

VERSION = version("chatmail-milter")
PACKAGE = REPOSITORY / f"dist/chatmail-milter_{VERSION}_amd64.deb"
PAGE = (REPOSITORY / "docs/debian-package.md").read_text("utf-8")
INSTALL = "DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends"
OURS = "'chatmail*' 'mxdeliv*'"
SECONDS = 120.0

# What is on the host: kind, mode, owner, target of each file, and what is in those of /etc. Without what
# changes by itself, what apt and dpkg note, and the copies of its files that user management keeps.
SNAPSHOT = r"""
cd /
find . -xdev \( -path ./proc -o -path ./sys -o -path ./dev -o -path ./tmp -o -path ./run -o -path ./root \
    -o -path ./var/log -o -path ./var/tmp -o -path ./var/cache -o -path ./var/lib/apt \
    -o -path ./var/lib/dpkg -o -path ./var/lib/systemd -o -path ./var/backups -o -name __pycache__ \
    -o -path './etc/*-' -o -path ./etc/.pwd.lock \) -prune -o -printf '%p %y %m %u:%g %l\n'
find ./etc -xdev -type f ! -path './etc/*-' -exec sha256sum {} +
find ./run -name '*chatmail*' -o -name '*mxdeliv*'
"""

# Asks the hooks on their port, and opens the milter's socket, again and again. Prints how often it was
# answered, how often the milter cut a connection (Postfix then says 451, and the sender tries again), and
# what else went wrong.
VISITOR = r"""
import os, socket, sys, time
asked, cut, unanswered = 0, 0, []
while not os.path.exists("/run/stop-visitor"):
    for where in (("127.0.0.1", 10028), "/var/spool/postfix/chatmail/milter.sock"):
        family = socket.AF_INET if isinstance(where, tuple) else socket.AF_UNIX
        try:
            with socket.socket(family) as one:
                one.settimeout(60)
                one.connect(where)
                if family == socket.AF_INET:
                    one.sendall(b"GET / HTTP/1.0\r\n\r\n")
                    said = one.recv(9)
                else:
                    # SMFIC_OPTNEG of Postfix 3.7: version 6, all actions, all that may be left out.
                    one.sendall(b"\0\0\0\x0dO\0\0\0\x06\0\0\x01\xff\0\x1f\xff\xff")
                    said = one.recv(5)
                asked += 1
                if not said:
                    raise ConnectionResetError("closed")
        except ConnectionResetError as error:
            if family == socket.AF_UNIX:
                cut += 1
            else:
                unanswered.append(f"{where}: {error}")
        except OSError as error:
            unanswered.append(f"{where}: {error}")
    # Whole or not at all: the test reads it meanwhile.
    with open("/run/visitor.new", "w") as file:
        file.write(str(asked))
    os.replace("/run/visitor.new", "/run/visitor")
print(asked, cut, *unanswered, sep="\n")
"""


@pytest.fixture(scope="module")
def host(hosts: Lab) -> Iterator[LabHost]:
    with passing.up(DEB, hosts.paths) as host:
        yield host


@pytest.fixture
def clean(host: LabHost) -> Iterator[list[str]]:
    """What was on the host before."""
    before = snapshot(host)
    yield before
    host.run("dpkg --purge chatmail-milter; rm -rf /var/vmail /var/lib/chatmail /etc/chatmail", check=False)


def snapshot(host: LabHost) -> list[str]:
    return sorted(host.run(SNAPSHOT).stdout.splitlines())


def difference(before: list[str], after: list[str]) -> list[str]:
    return sorted(set(before) ^ set(after))


def bring(host: LabHost, package: Path) -> str:
    place = f"/root/{package.name}"
    shutil.copyfile(package, host.paths.root(DEB) / place.lstrip("/"))
    return place


def newer(directory: Path, *, port: str = "10028") -> Path:
    """The same package as the next version: one timer has another name, the hooks have a port."""
    tree, package = directory / "tree", directory / f"chatmail-milter_{VERSION}+next_amd64.deb"
    subprocess.run(["dpkg-deb", "--raw-extract", PACKAGE, tree], check=True)
    control = tree / "DEBIAN/control"
    control.write_text(re.sub(r"(?m)^(Version: .*)$", r"\1+next", control.read_text("utf-8")), "utf-8")
    units = tree / "lib/systemd/system"
    (units / "chatmail-clock.timer").rename(units / "chatmail-watch.timer")
    socket = units / "chatmail-hooks.socket"
    socket.write_text(socket.read_text("utf-8").replace("127.0.0.1:10028", f"127.0.0.1:{port}"), "utf-8")
    for file in [units / "chatmail.target", *(tree / "DEBIAN").glob("p*")]:
        text = file.read_text("utf-8").replace("chatmail-clock.timer", "chatmail-watch.timer")
        file.write_text(text, "utf-8")
    (units / "chatmail-watch.timer").write_text(
        (units / "chatmail-watch.timer").read_text("utf-8") + "Unit=chatmail-clock.service\n", "utf-8"
    )
    words = ["dpkg-deb", "--build", "--root-owner-group", "-Zgzip", "-z1"]
    subprocess.run([*words, tree, package], check=True, stdout=subprocess.DEVNULL)
    return package


def commands(section: str) -> list[str]:
    """The commands of the first block in a section of the page, as they are with nobody at a terminal."""
    text = PAGE.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    block = text.partition("\n```\n")[2].partition("```")[0]
    found = [line.partition(" #")[0].strip() for line in block.splitlines()]
    assert found
    return [
        line.replace("apt install", INSTALL)
        .replace("apt remove", "apt-get remove -q -y")
        .replace("editor ", "sed -i 's/^domain = .*/domain = \"deb.lab\"/' ")
        for line in found
    ]


def active(host: LabHost, kind: str) -> list[str]:
    said = host.run(
        f"systemctl list-units --plain --no-legend --state=active,activating,failed {OURS}"
    ).stdout
    return sorted(name for line in said.splitlines() if (name := line.split()[0]).endswith(kind))


def main_pids(host: LabHost) -> dict[str, str]:
    """Of the services that run until they are stopped. A timer may have started another just now."""
    said = host.run(f"systemctl list-units --plain --no-legend --state=running {OURS}").stdout
    names = sorted(name for line in said.splitlines() if (name := line.split()[0]).endswith(".service"))
    pids = host.run(["systemctl", "show", "--property=MainPID", "--value", *names]).stdout.split()
    return dict(zip(names, pids, strict=True))


def test_nothing_is_started_before_it_is_configured_and_a_purge_leaves_nothing(
    host: LabHost, clean: list[str]
) -> None:
    host.run(f"{INSTALL} {bring(host, PACKAGE)}")
    assert active(host, "") == []
    assert "enabled" not in host.run("systemctl is-enabled chatmail.target", check=False).stdout.split()
    assert host.run("chatmailctl --version").stdout.strip().endswith(VERSION)
    said = host.run("chatmailctl config check", check=False)
    assert (said.returncode, "/etc/chatmail/chatmail.toml: can't be read" in said.stderr) == (78, True)
    # The manual finds what was generated.
    assert "Inspect and control" in host.run("zcat /usr/share/man/man8/chatmailctl.8.gz").stdout
    said = host.run("dpkg --purge chatmail-milter")
    assert "kept" not in said.stdout + said.stderr
    assert difference(clean, snapshot(host)) == []


def test_an_upgrade_keeps_the_configuration_and_refuses_nobody(
    host: LabHost, clean: list[str], tmp_path: Path
) -> None:
    bring(host, PACKAGE)
    for command in commands("Install") + commands("Configure and start"):
        host.run(f"cd /root && {command}")
    assert host.run("chatmailctl config show | grep '^domain'").stdout == 'domain = "deb.lab"\n'
    until(lambda: len(main_pids(host)) == 8, SECONDS, "eight services are to run")
    files = "chatmail.toml hooks.secret names.key push.url store.key turn.secrets wake.url"
    settings = f"cd /etc/chatmail && sha256sum {files}"
    configured, old = host.run(settings).stdout, main_pids(host)

    visitor = subprocess.Popen(host.words(["python3", "-c", VISITOR]), stdout=subprocess.PIPE, text=True)
    until(
        lambda: host.run("cat /run/visitor", check=False).stdout or None,
        SECONDS,
        "the visitor is to be answered",
    )
    (upgrade,) = commands("Upgrade")
    host.run(re.sub(r"\./chatmail-milter_\S+\.deb", bring(host, newer(tmp_path)), upgrade))
    seen = int(host.run("cat /run/visitor").stdout)
    until(
        lambda: int(host.run("cat /run/visitor").stdout or 0) > seen + 2 or None, SECONDS, "answers after it"
    )
    host.run("touch /run/stop-visitor")
    said, _ = visitor.communicate(timeout=SECONDS)
    host.run("rm /run/stop-visitor /run/visitor")

    asked, cut, *unanswered = said.splitlines()
    assert unanswered == []
    assert int(asked) > 4
    # That which it had when it was restarted.
    assert int(cut) <= 1
    until(lambda: main_pids(host).keys() == old.keys(), SECONDS, "the same services are to run")
    new = main_pids(host)
    assert not old.items() & new.items()
    # Its units, too: one that it has no more is stopped, and one that is new started.
    assert active(host, ".timer") == ["chatmail-expire.timer", "chatmail-watch.timer"]
    assert host.run(settings).stdout == configured
    assert host.run("dpkg-query -W -f '${Version}' chatmail-milter").stdout == f"{VERSION}+next"

    # Mail and accounts stay, and it says so, with the command that removes them.
    host.run("install -d -o vmail -g vmail /var/vmail/deb.lab && touch /var/vmail/deb.lab/mail")
    remove, purge = commands("Remove")
    host.run(remove)
    assert active(host, "") == []
    assert host.run(settings).stdout == configured
    purged = host.run(purge).stdout
    assert "mail and accounts are kept: /var/vmail (mail)" in purged
    assert active(host, "") == []
    assert host.run("ls /var/vmail/deb.lab /var/lib/chatmail").returncode == 0
    assert host.run("stat -c %U /var/vmail/deb.lab").stdout == "vmail\n"
    command = purged.partition("to remove them: ")[2].strip()
    assert command.startswith("rm -r ")
    host.run(command)
    assert difference(clean, snapshot(host)) == []


def test_where_a_new_version_listens_elsewhere_what_ran_runs_again(
    host: LabHost, clean: list[str], tmp_path: Path
) -> None:
    """Single programs too, which no unit of ours enables."""
    host.run(f"{INSTALL} {bring(host, PACKAGE)}")
    host.run("printf '[mail]\ndomain = \"deb.lab\"\n' >/etc/chatmail/chatmail.toml")
    host.run("systemctl start chatmail-hooks.service")
    host.run(f"{INSTALL} {bring(host, newer(tmp_path, port='10999'))}")
    assert active(host, "") == ["chatmail-hooks.service", "chatmail-hooks.socket"]
    listening = host.run("ss --no-header --listening --tcp --numeric").stdout
    assert "127.0.0.1:10999" in listening
    assert "127.0.0.1:10028" not in listening
    host.run("dpkg --purge chatmail-milter")
    assert difference(clean, snapshot(host)) == []


def test_a_host_of_an_earlier_playbook_is_left_alone(host: LabHost, clean: list[str]) -> None:
    host.run("mkdir -p /opt/chatmail/venv")
    done = host.run(f"dpkg --install {bring(host, PACKAGE)}", check=False)
    host.run("rm -r /opt/chatmail")
    assert done.returncode == 1
    assert "deployed by an earlier version of the playbook" in done.stderr
    assert difference(clean, snapshot(host)) == []
