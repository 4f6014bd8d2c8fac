"""The image, as a relay: started with environment variables, restarted, and replaced while its volumes stay.

The tests stand in order, and each goes on where the one before ended.
"""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import messages, packets
from tests.chat import smtp
from tests.chat.imap import ImapMailbox
from tests.container import image
from tests.container.box import HOST, UNIT, Box
from tests.lab import Lab, network
from tests.lab.wait import until

SECONDS = 60.0
ENVIRONMENT = {"CHATMAIL_DOMAIN": HOST.domain}
# All that a relay must not lose, and each relay must have made itself.
SECRETS = "cd /etc/chatmail && sha256sum *.key *.secret *.url tls/* ../opendkim/keys/*"

Login = tuple[str, str]


@pytest.fixture(scope="module")
def root() -> Path:
    """The image of this tree."""
    found = image.path(Lab().paths)
    assert found.is_dir(), "run `make test-container`, which builds the image of this tree first"
    return found


@pytest.fixture(scope="module")
def box(root: Path) -> Iterator[Box]:
    lab = Lab()
    ours = any(host.state != "up" for host in lab.status())
    found = Box(lab.paths, root)
    try:
        # The lab's network is all that it needs of the lab.
        network.make_bridge()
        found.create()
        yield found
    finally:
        found.forget()
        if ours:
            lab.down()


@pytest.fixture(scope="module")
def sender(box: Box) -> Login:
    return _logged_in(box)


@pytest.fixture(scope="module")
def reader(box: Box) -> Login:
    return _logged_in(box)


@pytest.fixture(scope="module")
def first(box: Box, sender: Login, reader: Login) -> str:
    """A message that was delivered before the container was restarted and replaced."""
    return _sent(box, sender, reader)


@pytest.fixture(scope="module")
def made(box: Box) -> str:
    """The digests of the secrets, as the first start made them."""
    return box.host.run(SECRETS).stdout


def _logged_in(box: Box) -> Login:
    # By the operator: on a busy machine the relay makes none by itself (chatmail_limit_load).
    made = json.loads(box.host.run("chatmailctl account create --json").stdout)
    login = str(made["address"]), str(made["password"])
    with ImapMailbox(box.host.ip, *login):
        return login


def _sent(box: Box, sender: Login, reader: Login) -> str:
    """The Message-ID of an encrypted message that the relay accepted."""
    mid = f"{secrets.token_hex(8)}@box.test"
    text = messages.sealed(packets.pkesk() + packets.seipd())
    text = text.replace(messages.ALICE.encode(), sender[0].encode()).replace(b"1e240@localhost", mid.encode())
    reply = smtp.submit(box.host.ip, sender, [reader[0]], text)
    assert reply.code == 250, reply
    return mid


def _arrives(box: Box, reader: Login, mid: str) -> bytes:
    with ImapMailbox(box.host.ip, *reader) as mailbox:
        return until(lambda: mailbox.find(mid), SECONDS, f"{mid} did not come")


def test_the_image_has_no_secret_and_starts_nothing_but_the_playbook(root: Path) -> None:
    for place in ("etc/chatmail", "etc/opendkim/keys", "var/lib/chatmail", "var/vmail"):
        assert [file for file in (root / place).rglob("*") if file.is_file()] == []
    assert [*(root / "etc/ssl/private").iterdir(), *(root / "etc/ssh").glob("ssh_host_*")] == []
    assert (root / "etc/machine-id").read_text() == ""
    wanted = [link.name for link in (root / "etc/systemd/system").glob("*.wants/*")]
    assert wanted == [f"{UNIT}.service"]


def test_the_first_start_makes_a_relay(box: Box) -> None:
    box.start(ENVIRONMENT)
    assert box.recap().changed > 0
    state = box.host.run("systemctl is-system-running --wait", check=False).stdout
    assert state == "running\n", box.host.run("systemctl list-units --failed --no-legend").stdout


def test_encrypted_mail_is_delivered_and_no_other(
    box: Box, sender: Login, reader: Login, first: str, made: str
) -> None:
    assert len(made.splitlines()) >= 8
    assert b"BEGIN PGP MESSAGE" in _arrives(box, reader, first)
    clear = messages.text().replace(messages.ALICE.encode(), sender[0].encode())
    assert smtp.submit(box.host.ip, sender, [reader[0]], clear).code == 523


def test_a_second_start_changes_nothing_and_keeps_accounts_and_mail(
    box: Box, sender: Login, reader: Login, first: str, made: str
) -> None:
    box.stop()
    box.start(ENVIRONMENT)
    assert box.recap().changed == 0, box.said()
    assert box.host.run(SECRETS).stdout == made
    assert _arrives(box, reader, first)
    assert _arrives(box, reader, _sent(box, sender, reader))


def test_a_new_container_takes_over_accounts_mail_and_queue_and_reads_the_inventory(
    box: Box, sender: Login, reader: Login, first: str, made: str
) -> None:
    # Only this container's file: its successor writes its own.
    box.host.run("postconf -e defer_transports=lmtp && systemctl restart postfix@-.service")
    waiting = _sent(box, sender, reader)
    until(lambda: box.host.run("postqueue -j").stdout, SECONDS, "the message does not wait in the queue")
    box.remove()
    inventory = box.volume("/etc/chatmail") / "inventory"
    of_relay = {
        "chatmail_domain": HOST.domain,
        "chatmail_contact": "operator@box.lab",
        # As it would be for a run over SSH from elsewhere.
        "ansible_host": "192.0.2.1",
        "ansible_user": "operator",
        "chatmail_dns_records_file": "/nowhere/box.zone",
    }
    inventory.write_text(json.dumps({"relays": {"hosts": {HOST.domain: of_relay}}}), "utf-8")
    box.create()
    box.start({})
    box.host.run("postqueue -f")
    assert _arrives(box, reader, waiting)
    assert _arrives(box, reader, first)
    assert box.host.run(SECRETS).stdout == made
    assert "operator@box.lab" in box.host.run("chatmailctl config show").stdout
    assert HOST.domain in box.host.run("cat /etc/chatmail/records.zone").stdout


@pytest.mark.parametrize("hosts", [[], ["a.example", "b.example"]])
def test_an_inventory_of_another_number_of_relays_is_refused(box: Box, hosts: list[str]) -> None:
    inventory = box.volume("/etc/chatmail") / "inventory"
    kept = inventory.with_name("inventory.kept")
    shutil.move(inventory, kept)
    try:
        since = box.host.cursor()
        of_each = {name: {"chatmail_domain": name} for name in hosts}
        inventory.write_text(json.dumps({"relays": {"hosts": of_each}}), "utf-8")
        assert box.host.run(["systemctl", "start", UNIT], check=False, timeout=600).returncode == 1
        said = " ".join(str(one["MESSAGE"]).strip() for one in box.host.journal("-u", UNIT, since=since))
        assert f"set up in this container; it has {len(hosts)}" in " ".join(said.split())
        assert "changed=0" in said
    finally:
        shutil.move(kept, inventory)
