"""The ways to add a chat domain to a host that serves other mail: by hand, and by the playbook beside.yml."""

from __future__ import annotations

import json
import secrets
import shutil
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from threading import Event
from typing import Any

from tests import messages
from tests.chat import smtp
from tests.chat.imap import ImapMailbox
from tests.lab import Lab, ansible, by_hand, inventory, old
from tests.lab.host import LabHost
from tests.lab.old import PASSWORD, USER, VIRTUAL
from tests.lab.plan import DNS, OLD, REPOSITORY
from tests.lab.wait import until

CHAT = old.CHAT_DOMAIN
STRANGER = "stranger@mta.lab"
SECONDS = 60.0
# Our ports on loopback, and those of part (e).
PORTS = (10025, 10026, 10027, 10028, 10029, 10031)
PORTS_OF_443 = (11443, 11465, 11993)
PACKAGE = f"chatmail-milter_{version('chatmail-milter')}_amd64.deb"
BESIDE = REPOSITORY / "ansible/beside.yml"
# The sections of the document, and what the playbook calls them.
PARTS = {"a": "milter", "b": "relay", "c": "mxdeliv", "d": "accounts", "e": "port_443"}
NAMES = {
    "chat.example": CHAT,
    "mx.old.example": OLD.domain,
    "192.0.2.53": DNS.ip,
}
# The lab's peers live in a private network, its machine is busy, and nobody is to be told of notices.
OF_THE_LAB = '[limits]\nload = 0\n[relay]\nallow_networks = ["10.77.0.0/24"]\n[push]\ngateway = ""\n'
# What the operator gets from an authority; none certifies a name with an underscore.
CERTIFICATE = f"""
umask 077
mkdir -p /etc/letsencrypt/live/{CHAT}
cd /etc/letsencrypt/live/{CHAT}
openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj '/CN={CHAT}' -addext 'subjectAltName=DNS:{CHAT}' \
    -keyout privkey.pem -out fullchain.pem
"""
# Kind, mode, owner and octets of each file.
SNAPSHOT = r"""
cd /etc
find postfix dovecot nginx -printf '%p %y %m %u:%g %l\n' | sort
find postfix dovecot nginx -type f -exec sha256sum {} + | sort -k 2
"""


class ByHand:
    """What the document says, line by line."""

    def __init__(self, lab: Lab, host: LabHost) -> None:
        self._host = host
        host.run(CERTIFICATE)
        shutil.copyfile(REPOSITORY / "dist" / PACKAGE, lab.paths.root(OLD) / "root" / PACKAGE)
        by_hand.do(host, "Before", NAMES)

    def steps(self, *parts: str) -> list[tuple[str, ...]]:
        """Which of these are added together."""
        return [(part,) for part in parts]

    def add(self, *parts: str) -> None:
        for part in parts:
            by_hand.do(self._host, part, NAMES)
            if part == "Install":
                self._host.run("cat >> /etc/chatmail/chatmail.toml", input=OF_THE_LAB)

    def remove(self) -> None:
        by_hand.do(self._host, "Remove", NAMES)


class ByPlaybook:
    """beside.yml with more parts each time."""

    def __init__(self, lab: Lab, host: LabHost) -> None:
        self._lab, self._host = lab, host
        self._parts: list[str] = []
        host.run(CERTIFICATE)

    def steps(self, *parts: str) -> list[tuple[str, ...]]:
        """Which of these are added together: each run takes half a minute."""
        return [parts]

    def run(self, *options: str, of: Path = BESIDE, **variables: Any) -> subprocess.CompletedProcess[str]:
        variables = {"beside_parts": self._parts, **variables}
        return beside(self._lab, self._host, *options, of=of, **variables)

    def add(self, *parts: str, **variables: Any) -> None:
        first = not self._parts
        self._parts += [PARTS[part] for part in parts if part != "Install"]
        if "e" in parts:
            move_sites(self._host, "e")
        done = self.run(mitogen=not first, **variables)
        assert done.returncode == 0, done.stdout

    def remove(self) -> None:
        move_sites(self._host, "Remove")
        done = self.run(chatmail_state="absent")
        assert done.returncode == 0, done.stdout


def move_sites(host: LabHost, part: str) -> None:
    """Change the sites of others as that part of the document does: the playbook leaves it to their owner."""
    lines = [line for step in by_hand.steps() if step.part == part for line in step.text.splitlines()]
    (line,) = [line for line in lines if line.startswith("sed -i --follow-symlinks")]
    host.run(["sh", "-ec", line])


def beside(
    lab: Lab, host: LabHost, *options: str, of: Path, **variables: Any
) -> subprocess.CompletedProcess[str]:
    """Run beside.yml on the host, for the chat domain; or another playbook, which runs it."""
    of_host = {
        "ansible_host": host.ip,
        "chatmail_domain": CHAT,
        "chatmail_hostname": OLD.domain,
        "beside_resolver": DNS.ip,
        "chatmail_push_gateway": "",
    }
    shared = inventory.shared_variables(lab.paths)
    tree = {inventory.GROUP: {"hosts": {OLD.domain: of_host}, "vars": shared}}
    file = lab.paths.run / "old.json"
    file.write_text(json.dumps(tree), encoding="utf-8")
    return ansible.play(of, file, *options, **variables)


def page(host: LabHost, name: str, path: str = "/") -> bytes:
    """The answer of a site on port 443, to the end."""
    with (
        socket.create_connection((host.ip, 443), SECONDS) as plain,
        smtp.any_certificate("http/1.1").wrap_socket(plain, server_hostname=name) as session,
    ):
        session.sendall(f"GET {path} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
        return b"".join(iter(lambda: session.recv(4096), b""))


def by(author: str, message: bytes, mid: str = "1e240@localhost") -> bytes:
    return message.replace(b"alice@a.example", author.encode()).replace(b"1e240@localhost", mid.encode())


@contextmanager
def knocking(host: LabHost) -> Iterator[list[str]]:
    """Have a user connect to our loopback ports all the time. Afterwards: the ports that let him in."""
    ports = PORTS + PORTS_OF_443
    tries = "; ".join(f"(exec 3<>/dev/tcp/127.0.0.1/{port}) && echo {port}" for port in ports)
    host.run(
        [
            "systemd-run",
            "--unit=knocking",
            "--uid=bob",
            "bash",
            "-c",
            f"while sleep 0.05; do {tries}; done 2>/dev/null",
        ]
    )
    open_ports: list[str] = []
    try:
        yield open_ports
    finally:
        host.run("systemctl stop knocking")
        host.sync_journal()
        said = host.run("journalctl _SYSTEMD_UNIT=knocking.service -o cat").stdout
        open_ports += [line for line in said.splitlines() if line.isdecimal()]


@contextmanager
def other_mail_meanwhile(host: LabHost) -> Iterator[None]:
    """Have a peer send mail to the host's own domains all the time. Afterwards: none was refused for good."""
    done, replies = Event(), []

    def send() -> None:
        while not done.wait(0.5):
            replies.append(smtp.deliver(host.ip, STRANGER, [USER, VIRTUAL], by(STRANGER, messages.text())))

    with ThreadPoolExecutor(1) as pool:
        sender = pool.submit(send)
        try:
            yield
            # One that began after it: that which was under way may have met the last change.
            enough = len(replies) + 2
            until(lambda: len(replies) >= enough or sender.done(), SECONDS, "mail does not flow any more")
        finally:
            done.set()
        sender.result()
    assert {one.code for one in replies} <= {250, 451}
    assert replies[-1].code == 250
    # A milter that is restarted, as with a new configuration, leaves the message that it reads.
    assert [one.code for one in replies].count(451) <= 1


def other_mail_flows(host: LabHost, mta: LabHost) -> None:
    """Mail of the host's own domains, in clear: in by port 25, between its users, out to another host."""
    inward, between, outward = (f"{secrets.token_hex(8)}@old.test" for _ in range(3))
    clear = messages.text()
    for recipient in (USER, VIRTUAL):
        assert smtp.deliver(host.ip, STRANGER, [recipient], by(STRANGER, clear, inward)).code == 250
    bob = "bob", PASSWORD
    for recipient, mid in ((VIRTUAL, between), ("reader@mta.lab", outward)):
        reply = smtp.submit(host.ip, bob, [recipient], by(USER, clear, mid), sender=USER)
        assert reply.code == 250, reply
    with ImapMailbox(host.ip, *bob) as mailbox:
        until(lambda: mailbox.find(inward), SECONDS, "a system user's mail did not come")
    with ImapMailbox(host.ip, VIRTUAL, PASSWORD) as mailbox:
        for mid in (inward, between):
            found = until(lambda mid=mid: mailbox.find(mid), SECONDS, "a virtual mailbox's mail did not come")  # type: ignore[misc]
            assert b"Authentication-Results" not in found
    grep = f"grep --recursive --files-with-matches {outward} /home/reader/Maildir"
    until(lambda: mta.run(grep, check=False).stdout, SECONDS, "mail to another host did not come")
