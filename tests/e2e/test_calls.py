"""Calls: coturn relays media for users with credentials from METADATA, and to no inside address."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from chatmail_milter.calls import turn
from tests.chat import relay
from tests.chat.deadline import until
from tests.chat.imap import ImapMailbox
from tests.chat.person import Person, fresh_address, fresh_password
from tests.chat.stage import Stage
from tests.e2e.conftest import Login
from tests.e2e.playbook import playbook
from tests.e2e.test_doctor import found
from tests.lab import Lab
from tests.lab.host import LabHost

SECRETS = "/etc/chatmail/turn.secrets"
ENTRY = b'GETMETADATA "" (/shared/vendor/deltachat/turn)'
Credentials = tuple[str, str]


def told(host: LabHost, login: Login) -> tuple[str, str, Credentials]:
    """Server, port and credentials, as METADATA has them."""
    with ImapMailbox(host.ip, *login) as mailbox:
        answer = b" ".join(mailbox.ask(ENTRY)[:-1]).decode()
    parts = re.search(r"(\S+):(\d+):(\d+):(\S+)\)$", answer)
    assert parts is not None, answer
    server, port, username, password = parts.groups()
    return server, port, (username, password)


def made(host: LabHost, lifetime: int) -> Credentials:
    """Credentials that are valid for so many seconds."""
    username = str(int(time.time()) + lifetime)
    secret = turn.parse(host.run(["cat", SECRETS]).stdout)[0].value
    return username, turn.password(secret, username)


def tried(client: LabHost, server: LabHost, credentials: Credentials, *options: str) -> str:
    """What coturn's own client says, having tried to send five packets in each direction."""
    username, password = credentials
    command = ["timeout", "60", "turnutils_uclient", "-u", username, "-w", password, "-n", "5", "-m", "1"]
    said = client.run([*command, *options, server.ip], check=False)
    return said.stdout + said.stderr


def is_relayed(client: LabHost, server: LabHost, credentials: Credentials) -> bool:
    """Whether media comes through, from one participant to the other and back."""
    said = tried(client, server, credentials, "-y")
    return "tot_send_msgs=20, tot_recv_msgs=20" in said and "Total lost packets 0 (" in said


def is_refused(client: LabHost, server: LabHost, credentials: Credentials) -> bool:
    """Whether there is no allocation."""
    said = tried(client, server, credentials, "-y")
    refused = "Cannot complete Allocation" in said or "error 400 (Bad Request)" in said
    return refused and "start_mclient" not in said


@pytest.fixture(scope="module")
def login(b: LabHost) -> Login:
    """A new account on _b.lab."""
    return fresh_address(b.domain), fresh_password()


@pytest.fixture(scope="module")
def credentials(b: LabHost, login: Login) -> Credentials:
    """Of that account."""
    server, port, credentials = told(b, login)
    assert (server, port) == (b.domain, "3478")
    return credentials


def test_credentials_are_valid_for_five_days(credentials: Credentials) -> None:
    assert round((int(credentials[0]) - time.time()) / 86400) == 5


def test_media_is_relayed_by_each_relay(a: LabHost, b: LabHost, credentials: Credentials) -> None:
    assert is_relayed(a, b, credentials)
    _, _, of_a = told(a, (fresh_address(a.domain), fresh_password()))
    assert is_relayed(b, a, of_a)
    # Each relay has a secret of its own.
    assert is_refused(b, a, credentials)


def test_forged_and_expired_credentials_are_refused(a: LabHost, b: LabHost, credentials: Credentials) -> None:
    username, password = credentials
    for forged in (
        (str(int(username) + 1), password),
        (username, turn.password("x" * 64, username)),
        (username, ""),
        ("9" * 400, password),
        ("' OR ''='", password),
        made(b, -1),
    ):
        assert is_refused(a, b, forged), forged
    assert is_relayed(a, b, credentials)


# Loopback, a cloud's metadata, private, the lab's upper neighbour, documentation, multicast, broadcast.
INSIDE = (
    "127.0.0.1", "169.254.169.254", "10.0.0.1", "10.78.0.1", "192.168.1.1", "203.0.113.9", "224.0.0.1",
    "255.255.255.255", "0.0.0.0",  # noqa: S104  (not bound to)
)  # fmt: skip
INSIDE_V6 = ("::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "fd00::1", "fe80::1", "2002:7f00:1::", "ff02::1")


@pytest.mark.parametrize("peer", [*INSIDE, *INSIDE_V6])
def test_nothing_is_relayed_to_special_addresses(a: LabHost, b: LabHost, peer: str) -> None:
    # Another user name each time: what coturn's client leaves behind counts towards the quota of its user.
    user = made(b, 3600 + [*INSIDE, *INSIDE_V6].index(peer))
    said = tried(a, b, user, "-e", peer, *(["-x"] if ":" in peer else []))
    assert "error 403 (Forbidden IP)" in said, said
    assert "start_mclient" not in said


def test_cores_get_the_server_of_their_relay(stage: Stage, alice: Person, bob: Person) -> None:
    def ours(person: Person) -> Any:
        url = f"turn:{stage.host_of(person.address).ip}:3478"
        servers = json.loads(stage.core.rpc.ice_servers(person.account))
        return next((one for one in servers if url in one["urls"]), None)

    for person in (alice, bob):
        server = until("the core has read METADATA", partial(ours, person), 30)
        secret = turn.parse(stage.host_of(person.address).run(["cat", SECRETS]).stdout)[0].value
        assert server["credential"] == turn.password(secret, server["username"])


def test_contact_of_the_operator_is_told_to_apps(b: LabHost, login: Login) -> None:
    with ImapMailbox(b.ip, *login) as mailbox:
        assert b"mailto:operator@peer.lab" in b" ".join(mailbox.ask(b'GETMETADATA "" (/shared/admin)'))


def test_only_root_and_two_programs_can_read_the_secrets(b: LabHost) -> None:
    for path in (SECRETS, "/var/lib/turn/turndb"):
        denied = b.run(["setpriv", "--reuid=nobody", "--clear-groups", "cat", path], check=False)
        assert "Permission denied" in denied.stderr
    assert b.run(["stat", "-c", "%U:%G %a", SECRETS]).stdout.strip() == "root:chatmail-turn 640"


@pytest.fixture
def rotated(b: LabHost, credentials: Credentials) -> Iterator[None]:
    """The secret of _b.lab is another; afterwards it is the one before."""
    before = b.run(["cat", SECRETS]).stdout
    relay.operate(b, "calls", "rotate")
    yield
    b.run(f"cat >{SECRETS} && systemctl start chatmail-turn-secrets", input=before)


def test_former_secret_is_valid_until_the_overlap_ends(
    a: LabHost, b: LabHost, login: Login, credentials: Credentials, rotated: None
) -> None:
    pid = _pid(b)
    _, _, fresh = told(b, login)
    kept = turn.parse(b.run(["cat", SECRETS]).stdout)
    assert fresh[1] == turn.password(kept[0].value, fresh[0])
    assert credentials[1] == turn.password(kept[1].value, credentials[0])
    assert is_relayed(a, b, credentials)
    assert is_relayed(a, b, fresh)
    # As if five days had passed, but for the user name, which is good for longer.
    b.run(f"sed -i 's/ [0-9]*$/ 1/' {SECRETS} && systemctl start chatmail-turn-secrets")
    assert is_refused(a, b, credentials)
    assert is_relayed(a, b, fresh)
    assert _pid(b) == pid


def test_no_log_has_addresses_of_participants(a: LabHost, b: LabHost, credentials: Credentials) -> None:
    since = b.cursor()
    assert is_relayed(a, b, credentials)
    assert is_refused(a, b, (credentials[0], "forged"))
    assert "Forbidden IP" in tried(a, b, credentials, "-e", "10.99.99.99")
    # `no-stdout-log`: usually it has no line at all.
    lines = [str(entry.get("MESSAGE", "")) for entry in b.journal("--unit=coturn", since=since)]
    assert [line for line in lines if a.ip in line or "10.99.99.99" in line or credentials[0] in line] == []
    kept = b.run(
        f"grep -rlF -e {a.ip} -e 10.99.99.99 /var/log /var/lib/turn /var/tmp /run/turnserver 2>/dev/null || :"
    )
    assert kept.stdout == ""


def test_coturn_comes_back_when_it_is_killed_and_doctor_finds_a_stopped_one(
    a: LabHost, b: LabHost, credentials: Credentials
) -> None:
    before = _pid(b)
    b.run("systemctl kill --signal=KILL coturn")
    until("it runs again", lambda: _pid(b) not in ("0", before), 30)
    b.run("systemctl stop coturn")
    status, wrong = found(b, "services")
    assert (status, [*wrong]) == (1, ["coturn.service"])
    b.run(wrong["coturn.service"]["mend"])
    assert found(b, "services") == (0, {})
    assert is_relayed(a, b, credentials)


def test_without_calls_the_playbook_lets_go_of_coturn(lab: Lab, b: LabHost) -> None:
    """Another coturn that the operator runs later is not ours to stop or to confine."""

    def apply(**variables: Any) -> None:
        done = playbook(lab, b, "--tags", "coturn_configure,coturn_run", **variables)
        assert done.returncode == 0, done.stdout + done.stderr
        # The next run would take a mark for an interrupted run's, and restart everything.
        assert b.run("ls /run/chatmail-playbook", check=False).stdout == ""

    ours = "/etc/systemd/system/coturn.service.d/chatmail.conf /etc/systemd/system/chatmail-turn-secrets.*"
    assert b.run(f"ls {ours}").stdout.count("\n") == 3
    try:
        apply(chatmail_calls=False)
        assert b.run(f"ls {ours}", check=False).stdout == ""
        assert b.run("systemctl is-active coturn", check=False).stdout == "inactive\n"
        b.run("systemctl start coturn")
        apply(chatmail_calls=False)
        assert b.run("systemctl is-active coturn").stdout == "active\n"
    finally:
        apply()
    assert found(b, "services") == (0, {})


def _pid(host: LabHost) -> str:
    return host.run("systemctl show --property=MainPID --value coturn").stdout.strip()
