"""No local user may deliver, inject, relay, say XCLIENT or list the queue: each listener, as each user."""

from __future__ import annotations

import json

import pytest

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
}
USERS = (
    "nobody", "_mta-sts", "chatmail-hooks", "chatmail-milter", "chatmail-push", "chatmail-relay",
    "chatmail-resolver", "chatmail-web", "dovecot", "dovenull", "opendkim", "postfix", "unbound", "vmail",
    "www-data",
)  # fmt: skip
# Directories whose sockets are Postfix's, Dovecot's or ours.
PLACES = (
    "/run/dovecot /run/mxdeliv-app /run/chatmail-push /run/chatmail-resolver.sock /run/unbound.ctl"
    " /var/spool/postfix"
)

TRY = """
import json, os, pwd, socket, sys
ports, users = json.loads(sys.argv[1]), json.loads(sys.argv[2])
sockets = [line for line in os.popen("find PLACES -type s").read().split()]
found = {}
for user in users:
    entry = pwd.getpwnam(user)
    read, write = os.pipe()
    if os.fork() == 0:
        os.initgroups(user, entry.pw_gid); os.setgid(entry.pw_gid); os.setuid(entry.pw_uid)
        opened = []
        for what in ports + sockets:
            one = socket.socket(socket.AF_INET if isinstance(what, int) else socket.AF_UNIX)
            one.settimeout(10)
            try:
                one.connect(("127.0.0.1", what) if isinstance(what, int) else what)
                opened.append(what)
            except OSError:
                pass
            one.close()
        os.write(write, json.dumps(opened).encode()); os._exit(0)
    os.close(write); os.wait()
    found[user] = json.loads(os.read(read, 1 << 16)); os.close(read)
print(json.dumps(found))
""".replace("PLACES", PLACES)


@pytest.fixture(scope="module")
def opened(a: LabHost) -> dict[str, list[int | str]]:
    """What each user could connect to, of all TCP ports that listen and all sockets in PLACES."""
    ports = sorted(listening(a))
    said = a.run(["python3", "-c", TRY, json.dumps(ports), json.dumps(USERS)]).stdout
    found: dict[str, list[int | str]] = json.loads(said)
    return found


def listening(host: LabHost) -> set[int]:
    lines = host.run("ss --no-header --listening --tcp --numeric").stdout.splitlines()
    return {int(line.split()[3].rpartition(":")[2]) for line in lines}


def test_every_tcp_listener_is_in_the_table(a: LabHost) -> None:
    assert listening(a) == set(TCP)


def test_each_port_is_open_to_whom_the_table_says(opened: dict[str, list[int | str]]) -> None:
    for user in USERS:
        expected = {port for port, who in TCP.items() if who & {user, "*"}}
        assert {one for one in opened[user] if isinstance(one, int)} == expected, user


def test_a_stranger_among_the_local_users_reaches_no_socket(opened: dict[str, list[int | str]]) -> None:
    for user in ("nobody", "unbound", "_mta-sts"):
        found = [one for one in opened[user] if isinstance(one, str) and one != "/run/unbound.ctl"]
        assert found == [], user
    assert "/run/unbound.ctl" not in opened["nobody"]


def test_the_queue_is_shown_to_root_alone(a: LabHost) -> None:
    said = a.run("setpriv --reuid=nobody --regid=nogroup --clear-groups postqueue -p", check=False)
    assert said.returncode != 0
    assert "not authorized" in said.stderr.lower() + said.stdout.lower() or "not allowed" in said.stderr
    assert a.run("postqueue -p").returncode == 0


def test_rules_come_back_when_they_are_gone(a: LabHost) -> None:
    a.run("nft delete table inet chatmail_loopback && systemctl start chatmail-loopback.service")
    assert "10025" in a.run("nft list table inet chatmail_loopback").stdout


def test_no_other_user_reads_which_domains_users_write_to(a: LabHost) -> None:
    found = a.run("find /var/lib/mta-sts -maxdepth 1 -name 'cache.db*' -perm /077").stdout
    assert found == ""
