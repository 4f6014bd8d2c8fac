"""No local user may deliver, inject, relay, use XCLIENT or list the queue: each listener, as each user.

Why a user may connect to a Unix socket is in `local_sockets.py`.
"""

from __future__ import annotations

import inspect
import json
from dataclasses import dataclass

import pytest

from tests.chat import relay
from tests.chat.deadline import until
from tests.chat.imap import ImapMailbox
from tests.e2e import local_sockets, socket_probe
from tests.e2e.conftest import Login
from tests.lab.host import LabHost

# Who can connect to a TCP port, besides root. The first are for all.
TCP = {port: {"*"} for port in (22, 25, 53, 80, 143, 443, 465, 587, 993, 10125, 10465, 10587)} | {
    8461: {"postfix"},
    10025: {"chatmail-web"},
    10026: {"chatmail-relay"},
    10027: {"postfix"},
    10028: {"dovecot"},
    10029: {"chatmail-web"},
    10030: {"dovecot"},
    10031: {"dovecot"},
    10036: {"nobody"},
    **{port: {"www-data"} for port in (11443, 11444)},
    **{port: {"www-data", "chatmail-webimap"} for port in (11465, 11993)},
}
# The resolver, on loopback: everybody may ask for names. And coturn, for the apps of all.
UDP = {53, 3478}
SECONDS = 30.0
USERS = (
    "nobody", "_mta-sts", "chatmail-admin", "chatmail-hooks", "chatmail-milter", "chatmail-push",
    "chatmail-recipients", "chatmail-relay", "chatmail-resolver", "chatmail-web", "chatmail-webimap",
    "dovecot", "dovenull", "opendkim", "postfix", "turnserver", "unbound", "vmail", "www-data",
)  # fmt: skip
TRY = """
import json, os, pwd, socket, sys
ports, users = json.loads(sys.argv[1]), json.loads(sys.argv[2])
found = {}
for user in users:
    entry = pwd.getpwnam(user)
    read, write = os.pipe()
    if os.fork() == 0:
        os.initgroups(user, entry.pw_gid); os.setgid(entry.pw_gid); os.setuid(entry.pw_uid)
        opened = []
        for port in ports:
            one = socket.socket()
            one.settimeout(10)
            try:
                one.connect(("127.0.0.1", port))
                opened.append(port)
            except OSError:
                pass
            one.close()
        os.write(write, json.dumps(opened).encode()); os._exit(0)
    os.close(write); os.wait()
    found[user] = json.loads(os.read(read, 1 << 16)); os.close(read)
print(json.dumps(found))
"""


@dataclass(frozen=True, slots=True)
class Sockets:
    """The Unix sockets of a host, and which of them each user could connect to."""

    all: set[str]
    opened: dict[str, set[str]]


@pytest.fixture(scope="module")
def opened(a: LabHost) -> dict[str, list[int]]:
    """Those of all listening TCP ports that each user could connect to."""
    said = a.run(["python3", "-c", TRY, json.dumps(sorted(listening(a, "tcp"))), json.dumps(USERS)]).stdout
    found: dict[str, list[int]] = json.loads(said)
    return found


@pytest.fixture(scope="module")
def sockets(a: LabHost, writer: Login) -> Sockets:
    # Somebody is connected: Dovecot gives the processes of mailboxes a group besides.
    with ImapMailbox(a.ip, *writer):
        said = json.loads(a.run(["python3", "-c", inspect.getsource(socket_probe), json.dumps(USERS)]).stdout)
    return Sockets(set(said["sockets"]), {user: set(paths) for user, paths in said["opened"].items()})


def listening(host: LabHost, kind: str) -> set[int]:
    lines = host.run(f"ss --no-header --listening --{kind} --numeric").stdout.splitlines()
    return {int(line.split()[3].rpartition(":")[2]) for line in lines}


def test_every_tcp_and_udp_listener_is_in_the_table(a: LabHost) -> None:
    # A service that restarts is back soon.
    until("all of them listen, and no other", lambda: listening(a, "tcp") == set(TCP), SECONDS)
    # The resolver waits for an answer on a UDP port of its own, which ss does not tell from a listener's.
    until("no other listens", lambda: listening(a, "udp") == UDP, SECONDS)


def test_each_port_is_open_to_whom_the_table_says(opened: dict[str, list[int]]) -> None:
    for user in USERS:
        assert set(opened[user]) == {port for port, who in TCP.items() if who & {user, "*"}}, user


def test_every_user_that_a_process_runs_as_is_in_the_table(a: LabHost) -> None:
    running = set(a.run("ps --no-headers -eo user:32").stdout.split())
    assert {name for name in running if not name.startswith("systemd-")} - {"root", "messagebus"} <= set(
        USERS
    )


def test_every_unix_socket_is_in_the_table(sockets: Sockets) -> None:
    table = local_sockets.by_path()
    assert sockets.all - set(table) == set()
    assert {path for path, row in table.items() if row.always} - sockets.all == set()


@pytest.mark.parametrize("user", USERS)
def test_each_unix_socket_is_open_to_whom_the_table_says(sockets: Sockets, user: str) -> None:
    assert sockets.opened[user] == local_sockets.allowed(user, sockets.all)


def test_a_user_of_no_service_reaches_no_socket_but_the_system_s(sockets: Sockets) -> None:
    assert {
        path for path in sockets.opened["nobody"] if not path.startswith(("/run/systemd/", "/run/dbus/"))
    } == set()


def test_the_queue_is_shown_to_root_alone(a: LabHost) -> None:
    said = a.run("setpriv --reuid=nobody --regid=nogroup --clear-groups postqueue -p", check=False)
    assert said.returncode != 0
    assert "not authorized" in said.stderr.lower() + said.stdout.lower() or "not allowed" in said.stderr
    assert a.run("postqueue -p").returncode == 0


def test_what_other_users_log_changes_no_peer_s_counts(a: LabHost) -> None:
    sent = (
        "4X1: to=<x@forged.example>, relay=mx[192.0.2.1]:25, delay=0.8, delays=0.1/0/0.3/0.4, dsn=2.0.0,"
        " status=sent (250 2.0.0 Ok)"
    )
    passed = "road=smtp verdict=pass reason=x queue=4X1 size=9 domain=forged.example seconds=0.01"
    for user in ("nobody", "www-data", "vmail", "chatmail-web", "root"):
        relay.log(a, user, "postfix/smtp-mx/smtp", sent)
        relay.log(a, user, "chatmail-milter", passed)
    relay.count_all(a)
    assert "forged.example" not in {row["domain"] for row in relay.ctl(a, "peers")}


def test_rules_come_back_when_they_are_gone(a: LabHost) -> None:
    a.run("nft delete table inet chatmail_loopback && systemctl start chatmail-loopback.service")
    assert "10025" in a.run("nft list table inet chatmail_loopback").stdout


def test_flushed_limits_come_back_and_those_that_are_there_keep_their_counts(a: LabHost) -> None:
    # A table that is made anew has another handle.
    which = "nft --handle --terse list table inet chatmail_limits | head -1"
    keep = "systemctl start chatmail-limits-kept.service"
    before = a.run(which).stdout
    assert "handle" in before
    a.run(keep)
    assert a.run(which).stdout == before

    def are_back() -> bool:
        # A look of the timer's that has begun may be from before.
        a.run(keep)
        return "ct count over" in a.run("nft --terse list table inet chatmail_limits", check=False).stdout

    for flush in ("nft delete table inet chatmail_limits", "nft flush table inet chatmail_limits"):
        a.run(flush)
        until("the limits are back", are_back, SECONDS, every=5.0)
    assert a.run("systemctl is-active chatmail-limits-kept.timer").stdout.strip() == "active"


def test_no_other_user_reads_which_domains_users_write_to(a: LabHost) -> None:
    found = a.run("find /var/lib/mta-sts -maxdepth 1 -name 'cache.db*' -perm /077").stdout
    assert found == ""
