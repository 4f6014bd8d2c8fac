"""The image, as a relay: started with environment variables, and used.

The tests stand in order, and each goes on where the one before ended.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import messages, packets
from tests.chat import smtp
from tests.chat.imap import Mailbox
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
    with Mailbox(box.host.ip, *login):
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
    with Mailbox(box.host.ip, *reader) as mailbox:
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
