"""The playbook refuses foreign files and invalid variables before it changes anything."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chat import relay
from tests.e2e.own_hosts.beside import BESIDE
from tests.e2e.own_hosts.by_address.relay_by_address import LITERAL, playbook
from tests.e2e.playbook import words
from tests.lab import Lab
from tests.lab.deployment import PLAYBOOK
from tests.lab.host import LabHost

CLEARTEXT = "a password that is no hash"
HASH = "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA"
FOREIGN = "myhostname = mail.other.example\nvirtual_mailbox_domains = other.example\n"


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"chatmail_qouta": 1}, "no variable chatmail_qouta; the nearest is chatmail_quota"),
        (
            {"chatmail_expire_mail": "20 days"},
            "chatmail_expire_mail: chatmail.toml: expiry.mail: wants a number",
        ),
        (
            {"chatmail_settings": {"relay": {"wokers": 3}}},
            "chatmail_settings: chatmail.toml: relay.wokers: no such key; the nearest is relay.workers",
        ),
        (
            {"chatmail_settings": {"accounts": {"quota": "1GB"}}},
            "chatmail_settings: accounts.quota: set chatmail_quota instead",
        ),
        ({"chatmail_settings": {"relay": 3}}, "chatmail_settings: relay: wants keys with values"),
        ({"chatmail_state": "absent"}, "must be `present` where chatmail_stack is `whole`"),
        ({"chatmail_stack": "both"}, "value of chatmail_stack must be one of: whole, beside, got: both"),
        ({"chatmail_domain": "192.0.2.1"}, "in brackets: [192.0.2.1]"),
        ({"chatmail_admin_passwords": {"privileged": CLEARTEXT}}, "the hash that `chatmailctl admin hash`"),
        ({"chatmail_admin_passwords": {"root": HASH}}, "may have `privileged` and `read_only`"),
        ({"chatmail_admin_networks": ["10.0.0.1"]}, "each as `address/prefix`"),
        ({"chatmail_domain": "2001:db8::1"}, "in brackets: [192.0.2.1] or [IPv6:2001:db8::1]"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_variables_that_cannot_work(
    hosts: Lab, literal: LabHost, variables: dict[str, Any], said: str
) -> None:
    done = playbook(hosts, literal, **variables)
    assert done.returncode != 0
    assert said in words(done)
    assert CLEARTEXT not in done.stdout + done.stderr
    assert "Give Ansible its Python" not in done.stdout
    assert "changed=0" in done.stdout


def test_another_domain_while_the_old_one_has_accounts(hosts: Lab, literal: LabHost) -> None:
    relay.ctl(literal, "account", "create")
    done = playbook(hosts, literal, chatmail_domain="_other.lab")
    assert done.returncode != 0
    assert f"the host has accounts at {LITERAL}" in words(done)
    assert "changed=0" in done.stdout


@pytest.mark.parametrize(
    ("release", "said"),
    [
        ('ID=debian\nVERSION_ID="11"\n', "not debian 11: "),
        ("ID=debian\n", "not debian: "),
        ('ID=ubuntu\nVERSION_ID="24.04"\n', "not ubuntu 24.04: "),
    ],
    ids=["Debian 11", "testing", "Ubuntu"],
)
@pytest.mark.parametrize(
    ("of", "wanted"), [(PLAYBOOK, "Debian 12 or Debian 13"), (BESIDE, "Debian 12")], ids=["site", "beside"]
)
def test_a_host_of_another_release(
    hosts: Lab, literal: LabHost, of: Path, wanted: str, release: str, said: str
) -> None:
    refused_on(hosts, literal, of, release, f"the host must run {wanted}, {said}")


def test_a_domain_beside_others_on_debian_13(hosts: Lab, literal: LabHost) -> None:
    said = "the host must run Debian 12, not debian 13: "
    refused_on(hosts, literal, BESIDE, 'ID=debian\nVERSION_ID="13"\n', said)


def refused_on(hosts: Lab, literal: LabHost, of: Path, release: str, said: str) -> None:
    """`release`: the text of the host's /etc/os-release."""
    literal.run("cat >/run/os-release && mount --bind /run/os-release /etc/os-release", input=release)
    try:
        done = playbook(hosts, literal, of=of)
    finally:
        literal.run("umount /etc/os-release")
    assert done.returncode != 0
    assert said in words(done)
    assert "Give Ansible its Python" not in done.stdout
    assert "changed=0" in done.stdout


@pytest.mark.parametrize(
    ("pattern", "other", "said"),
    [
        ("Architecture: .*", "Architecture: riscv64", "for another processor (riscv64) than the host's"),
        (r"python3 \(>= 3\.11\)", "python3 (>= 3.13)", "the package is for Python 3.13, the host has 3.11"),
    ],
    ids=["processor", "python"],
)
def test_a_package_for_another_host(
    hosts: Lab, literal: LabHost, tmp_path: Path, pattern: str, other: str, said: str
) -> None:
    package = PLAYBOOK.parents[1] / "dist/chatmail-milter.deb"
    fields = subprocess.run(["dpkg-deb", "--field", package], capture_output=True, text=True, check=True)
    (tmp_path / "tree/DEBIAN").mkdir(parents=True)
    (tmp_path / "tree/DEBIAN/control").write_text(re.sub(pattern, other, fields.stdout), "utf-8")
    subprocess.run(["dpkg-deb", "--build", tmp_path / "tree", tmp_path / "other.deb"], check=True)
    done = playbook(hosts, literal, chatmail_deb=str(tmp_path / "other.deb"))
    assert done.returncode != 0
    assert said in words(done)
    assert "changed=0" in done.stdout


@pytest.mark.parametrize(
    ("variable", "kind"), [("chatmail_inject_port", "STREAM"), ("chatmail_turn_port", "DGRAM")]
)
def test_a_port_that_another_program_has(hosts: Lab, literal: LabHost, variable: str, kind: str) -> None:
    holds = f"import socket, sys; s = socket.socket(type=socket.SOCK_{kind}); s.bind(('0.0.0.0', 12345));"
    listens = "s.listen();" if kind == "STREAM" else ""
    program = ["python3", "-c", f"{holds}{listens}print('held', flush=True); sys.stdin.read()"]
    with subprocess.Popen(literal.words(program), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        done = playbook(hosts, literal, **{variable: "12345"})
    assert done.returncode != 0
    assert "another program listens on a port that the relay needs" in words(done)
    assert '"python3"' in words(done)
    assert "changed=0" in done.stdout


def test_a_package_that_is_none(hosts: Lab, literal: LabHost, tmp_path: Path) -> None:
    (tmp_path / "other.deb").write_bytes(b"")
    done = playbook(hosts, literal, chatmail_deb=str(tmp_path / "other.deb"))
    assert done.returncode != 0
    assert "other.deb: run `make deb` in the repository first" in words(done)
    assert "changed=0" in done.stdout


class TestForeignFiles:
    @pytest.fixture(autouse=True)
    def _somebody_elses(self, literal: LabHost) -> Iterator[None]:
        literal.run("cp -a /etc/postfix/main.cf /root/main.cf.ours")
        literal.run(f"printf '{FOREIGN}' > /etc/postfix/main.cf")
        yield
        literal.run("cp -a /root/main.cf.ours /etc/postfix/main.cf")

    def test_they_are_neither_replaced_nor_lost(self, hosts: Lab, literal: LabHost) -> None:
        done = playbook(hosts, literal)
        assert done.returncode != 0
        assert "without effect: /etc/postfix/main.cf. Deploy on a fresh host" in words(done)
        assert "chatmail_take_over: true" in words(done)
        assert "changed=0" in done.stdout
        assert literal.run("cat /etc/postfix/main.cf").stdout == FOREIGN
        assert literal.run("ls /run/chatmail-playbook", check=False).stdout == ""

        done = playbook(hosts, literal, chatmail_take_over=True)
        assert done.returncode == 0, done.stdout
        assert "Ansible managed" in literal.run("cat /etc/postfix/main.cf").stdout
        copies = literal.run("ls -d /var/backups/chatmail/*/etc/postfix/main.cf").stdout.split()
        assert [literal.run(f"cat {copy}").stdout for copy in copies] == [FOREIGN]
        assert copies[0].removesuffix("/etc/postfix/main.cf") in words(done)
        assert relay.failed_units(literal) == ""

    def test_a_host_without_python_gets_none_before_it_is_looked_at(
        self, hosts: Lab, literal: LabHost
    ) -> None:
        python = "/usr/lib/python3/dist-packages/apt_pkg.*.so"
        files = f"/etc/unbound/unbound.conf.d/chatmail.conf /etc/tmpfiles.d/chatmail.conf {python}"
        literal.run(f"for file in {files}; do mv $file $file.aside; done")
        try:
            done = playbook(hosts, literal)
            assert literal.run(f"ls {python}", check=False).stdout == ""
        finally:
            literal.run(
                "for file in $(find /etc/unbound /etc/tmpfiles.d /usr/lib/python3 -name '*.aside'); do"
                " mv $file ${file%.aside}; done"
            )
        assert done.returncode != 0
        assert "which the host lacks: install python3 and python3-apt there" in words(done)
        assert "/etc/postfix/main.cf" in words(done)
        assert "changed=0" in done.stdout


class TestRedirected:
    """A packet filter of the host's admin beside the relay's own limits."""

    SCRIPT = PLAYBOOK.parent / "roles/connection_limits/files/redirected.py"
    FILTER = "add table inet admin; add chain inet admin in { type filter hook input priority 0; }; "

    @pytest.fixture
    def admin(self, literal: LabHost) -> Iterator[LabHost]:
        yield literal
        literal.run("nft delete table inet admin", check=False)

    def seen(self, host: LabHost, ports: str = "465 587") -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, self.SCRIPT, host.ip, "5", *ports.split()],
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stderr

    def test_a_filter_that_drops_what_is_redirected_is_seen(self, admin: LabHost) -> None:
        assert self.seen(admin) == (0, "")
        admin.run(["nft", self.FILTER + "add rule inet admin in tcp dport 10587 drop"])
        wanted = "connections above the first 4 are not answered on port 587\n"
        assert self.seen(admin) == (1, wanted)

    def test_a_port_that_is_closed_says_nothing(self, admin: LabHost) -> None:
        admin.run(["nft", self.FILTER + "add rule inet admin in tcp dport { 465, 10465 } drop"])
        assert self.seen(admin, "465") == (0, "")
