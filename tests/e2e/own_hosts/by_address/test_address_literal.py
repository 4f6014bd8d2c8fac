"""People on a relay with an address literal as its domain write to each other, and a peer writes to them."""

from __future__ import annotations

import socket

import pytest

from tests.chat import mxdeliv, pgp, relay, signature
from tests.chat.core import Core
from tests.chat.imap import ImapMailbox
from tests.chat.person import Person, fresh_address, fresh_password
from tests.chat.stage import Stage
from tests.e2e.own_hosts.by_address.relay_by_address import LITERAL, playbook
from tests.lab import Lab
from tests.lab.deployment import recap
from tests.lab.host import LabHost
from tests.lab.wait import until

SENDER = "someone12345@peer.lab"
# Not among the ports that the role's filter leaves open.
CLOSED = 8000
SECONDS = 60.0


def test_two_people_with_links_of_the_operator_write_to_each_other(hosts: Lab, literal: LabHost) -> None:
    with Core(hosts.netns("client")) as core:
        stage = Stage(hosts, core)
        one, other = guest(core, literal), guest(core, literal)
        stage.acquaint(one, other)
        for sender, receiver in ((one, other), (other, one)):
            stage.say(sender, receiver, SECONDS)


def guest(core: Core, host: LabHost) -> Person:
    """The link tells the app to take the host's own certificate."""
    made: dict[str, str] = relay.ctl(host, "account", "create")
    guest = Person(core, made["address"], made["password"])
    guest.log_in_by(made["link"])
    return guest


def test_a_peer_s_mail_comes_in(hosts: Lab, literal: LabHost) -> None:
    login, mid = (fresh_address(LITERAL), fresh_password()), pgp.message_id()
    with ImapMailbox(literal.ip, *login) as mailbox:
        message = signature.sign(pgp.encrypted(SENDER, login[0], mid), "peer.lab", hosts.paths)
        answer = mxdeliv.post(literal, SENDER, [login[0]], message, Host=literal.ip)
        assert answer.status == 200, answer.line
        until(lambda: mailbox.find(mid), SECONDS, "the message did not come")


def test_check_mode_changes_nothing(hosts: Lab, literal: LabHost) -> None:
    """What a second run would do; that of the collection is for real."""
    done = playbook(hosts, literal, "--check")
    assert (done.returncode, recap(done.stdout).changed) == (0, 0), done.stdout


def test_what_listens_on_another_port_is_not_reached(literal: LabHost) -> None:
    listen = f"import socket, time; one = socket.create_server(('', {CLOSED})); time.sleep(600)"
    literal.run(["systemd-run", "--quiet", "--unit=listening", "python3", "-c", listen])
    try:
        until(lambda: literal.run(f"ss -Hltn sport = :{CLOSED}").stdout, SECONDS, "it does not listen")
        literal.run(f"timeout 5 bash -c '</dev/tcp/127.0.0.1/{CLOSED}'")
        for port in (22, 25, 80, 143, 443, 465, 587, 993):
            socket.create_connection((literal.ip, port), SECONDS).close()
        with pytest.raises(TimeoutError):
            socket.create_connection((literal.ip, CLOSED), 3)
    finally:
        literal.run("systemctl stop listening")
