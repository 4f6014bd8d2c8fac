"""Mail, store, secrets and passwords are unreadable for all other users of the host."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.chat import relay
from tests.chat.login import by_imap, by_submission
from tests.chat.person import fresh_address, fresh_password
from tests.e2e.conftest import Login
from tests.e2e.test_expiry import is_there
from tests.lab.host import LabHost

# And whose it is, beside root. (Services have the group `chatmail` from their units, no user has it.)
PATHS = {
    "/var/lib/chatmail/store.sqlite": set(),
    "/etc/chatmail/chatmail.toml": set(),
    "/etc/chatmail/tls/privkey.pem": set(),
    "/etc/chatmail/hooks.secret": {"chatmail-hooks"},
    "/etc/chatmail/push.url": {"chatmail-push"},
    "/etc/chatmail/store.key": set(),
    "/etc/chatmail/names.key": set(),
    "/etc/chatmail/wake.url": {"vmail"},
    "/etc/chatmail/turn.secrets": set(),
    "/var/lib/turn/turndb": {"turnserver"},
    "/run/chatmail/guesses": {"chatmail-hooks"},
    "/var/vmail": {"vmail"},
    "/var/vmail/{domain}/{name}/Maildir": {"vmail"},
}


@pytest.mark.parametrize("path", PATHS)
def test_no_user_can_read_what_is_not_for_them(b: LabHost, reader: Login, path: str) -> None:
    name, _, domain = reader[0].partition("@")
    found = path.format(domain=domain, name=name)
    assert is_there(b, found)
    users = set(b.run("getent passwd | cut -d: -f1").stdout.split()) - {"root"}
    assert {"nobody", "www-data", "postfix", "dovecot", "dovenull", "opendkim", "chatmail-web"} <= users
    said = b.run(["sh", "-c", READ, "sh", found, *sorted(users)]).stdout.split()
    assert set(said) == PATHS[path]


# Which users can read a file, what lies beside it (SQLite's log), or what is in a directory.
READ = """
path=$1; shift
for user; do
    for command in "ls $path/" "cat $path" "cat $path*" "cat $path/*/*"; do
        setpriv --reuid="$user" --regid="$(id -g "$user")" --init-groups sh -c "$command" >/dev/null 2>&1 \
            && echo "$user"
    done
done
:
"""


def test_programs_have_the_groups_that_they_need_and_no_others(b: LabHost) -> None:
    names = b.run("systemctl list-unit-files --plain --no-legend '*.service' | cut -d' ' -f1").stdout.split()
    wanted = ["systemctl", "show", "--property=Id,User,Group,SupplementaryGroups"]
    shown = b.run([*wanted, *(name for name in names if "@." not in name)]).stdout
    units = [dict(line.split("=", 1) for line in one.splitlines()) for one in shown.split("\n\n")]

    def of(group: str) -> set[str]:
        return {one["Id"].partition(".")[0] for one in units if group in " ".join(one.values()).split()}

    # Dovecot's processes get theirs from Dovecot.
    assert of("vmail") == {"chatmail-expire", "chatmail-wake"}
    assert of("chatmail-hooks") == {"chatmail-hooks"}
    assert of("chatmail-admin") == {"chatmail-admin"}
    assert of("chatmail-push") == {"chatmail-push"}
    assert of("chatmail-turn") == {"chatmail-push", "chatmail-turn-secrets"}
    assert of("chatmail-store-key") == {"chatmail-milter", "mxdeliv-relay"}
    assert of("chatmail-names-key") == {"chatmail-expire", "chatmail-hooks", "chatmail-milter", "mxdeliv-app"}


def test_passwords_are_in_no_log_and_no_list_of_processes(b: LabHost) -> None:
    cursor = b.cursor()
    passwords = [f"{kind}-{fresh_password()}" for kind in ("first", "wrong", "short", "asked", "made")]
    address, made = fresh_address(b.domain), fresh_address(b.domain)
    b.run("rm -f /run/watched-enough")
    with ThreadPoolExecutor(1) as pool:
        watched = pool.submit(lambda: b.run(WATCH).stdout)
        try:
            assert by_imap(b.ip, address, passwords[0]) == "OK"
            assert by_submission(b.ip, address, passwords[1]).startswith("535")
            assert by_imap(b.ip, "x@" + b.domain, passwords[2]) != "OK"
            relay.operate(b, "account", "password", address, input=f"{passwords[3]}\n")
            assert by_submission(b.ip, address, passwords[3]) == "OK"
            relay.operate(b, "account", "create", made, "--ask", input=f"{passwords[4]}\n")
            assert by_imap(b.ip, made, passwords[4]) == "OK"
            passwords.append(relay.ctl(b, "account", "create")["password"])
            passwords.append(relay.ctl(b, "account", "password", address, "--random")["password"])
        finally:
            b.run("touch /run/watched-enough")
        lines = watched.result()
    journal = "\n".join(str(entry) for entry in b.journal(since=cursor))
    assert "dovecot" in lines
    assert "chatmailctl" in lines
    assert "event=account-created" in journal
    for password in passwords:
        assert password not in lines
        assert password not in journal


# Every command line and environment there is, again and again.
WATCH = """
until [ -e /run/watched-enough ]; do
    cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n' | sort -u
done
"""
