"""beside.yml on a host where something is in the way, and on hosts that are configured in unusual ways."""

from __future__ import annotations

import contextlib
import imaplib
import secrets
from collections.abc import Iterator

import pytest

from tests import messages, packets
from tests.chat import smtp
from tests.chat.imap import ImapMailbox
from tests.chat.login import by_imap_on_443
from tests.chat.person import fresh_address, fresh_password
from tests.e2e.own_hosts.beside import (
    CHAT,
    PARTS,
    SNAPSHOT,
    ByPlaybook,
    by,
    move_sites,
    other_mail_flows,
    page,
)
from tests.lab import Lab, old
from tests.lab.host import LabHost
from tests.lab.old import PAGE, PASSWORD, SITE, VIRTUAL
from tests.lab.wait import until


def holding(port: int) -> str:
    """Another program takes a port."""
    listen = f"import socket, time; one = socket.create_server(('', {port})); time.sleep(9999)"
    return (
        f'systemd-run --quiet --unit=holds-{port} python3 -c "{listen}"; '
        f"until ss -Hltn 'sport = :{port}' | grep -q .; do sleep 0.2; done"
    )


# Obstacles on an operator's host, and the playbook's words for each. One run names all obstacles of a list.
IN_THE_WAY = {
    "much": [
        (
            "printf '127.0.0.1:10025 inet n - y - - smtpd\\n' >>/etc/postfix/master.cf; postfix reload; "
            "until ss -Hltn 'sport = :10025' | grep -q .; do sleep 0.2; done",
            "another program listens on port 10025 (",
        ),
        (
            holding(10026),
            'another program listens on port 10026 ((("python3",',
        ),
        (
            "postconf -P submissions/inet/smtpd_milters=inet:127.0.0.1:1",
            "submissions/inet/smtpd_milters = inet:127.0.0.1:1: that service would not ask our milter",
        ),
        (
            "postconf -P smtp/inet/receive_override_options=no_milters",
            "smtp/inet/receive_override_options = no_milters: that service asks no milter",
        ),
        (f"postconf -e 'mydestination=old.lab, {CHAT}'", f"take {CHAT} out of mydestination"),
        (
            "postconf -e 'virtual_mailbox_domains=shop.lab, inline:{{_c.lab=x}}'",
            f"take {CHAT} out of virtual_mailbox_domains",
        ),
        (
            "postconf -M mxdeliv/unix='mxdeliv unix - - n - - lmtp'",
            "a service named mxdeliv is there already",
        ),
        (
            "postconf -M 127.0.0.1:10050/inet='127.0.0.1:10050 inet n - y - - smtpd -o content_filter='; "
            "postconf -e content_filter=smtp:[127.0.0.1]:10050",
            "127.0.0.1:10050 takes back what content_filter gave away",
        ),
        (
            "postconf -e multi_instance_directories=/etc/postfix-out",
            "this Postfix has several instances",
        ),
        (
            "echo 'auth_username_format = %n' >/etc/dovecot/conf.d/99-x.conf",
            "auth_username_format takes the domain off a login",
        ),
        (
            "chmod 600 /etc/dovecot/conf.d/50-operator.conf",
            "chatmail-expire, which runs as vmail, could not remove old mail",
        ),
        (
            f"echo 'server {{ listen 80; server_name x.lab {CHAT}; }}' >/etc/nginx/sites-available/x",
            f"nginx: /etc/nginx/sites-available/x serves {CHAT} already",
        ),
        # The shop, which was there before.
        (
            "true",
            "nginx: /etc/nginx/sites-enabled/shop:3: `listen 443 ssl`: port_443 needs that port: write "
            "`listen 127.0.0.1:11443 ssl proxy_protocol` there",
        ),
        (
            "rm /etc/nginx/modules-enabled/50-mod-stream.conf",
            "nginx: its module stream is installed, but turned off",
        ),
    ],
    "no setting": [
        ("echo 'smtpd_milters inet:1' >>/etc/postfix/main.cf", "correct Postfix's configuration first"),
        ("echo 'no such;' >/etc/nginx/conf.d/x.conf", "correct nginx's configuration first"),
    ],
    "Dovecot's error": [
        ("echo 'no such = x' >/etc/dovecot/conf.d/99-x.conf", "correct Dovecot's configuration first"),
        (
            "echo 'stream { server { listen 8853; return x; } }' >/etc/nginx/modules-enabled/60-x.conf",
            "nginx: /etc/nginx/modules-enabled/60-x.conf:1: `stream`: nginx has one such block only",
        ),
        (
            f"systemctl stop nginx; {holding(443)}",
            'another program listens on port 443 ((("python3",',
        ),
    ],
}


@pytest.fixture(scope="module")
def host(hosts: Lab) -> Iterator[LabHost]:
    with old.up(hosts.paths) as host:
        yield host


@pytest.fixture(scope="module")
def playbook(hosts: Lab, host: LabHost) -> ByPlaybook:
    return ByPlaybook(hosts, host)


@pytest.fixture(scope="module")
def before(host: LabHost) -> str:
    """The configuration as it was."""
    return host.run(SNAPSHOT).stdout


@pytest.mark.parametrize("things", IN_THE_WAY.values(), ids=IN_THE_WAY)
def test_a_host_with_something_in_the_way_is_refused_and_left_as_it_is(
    host: LabHost, playbook: ByPlaybook, before: str, things: list[tuple[str, str]]
) -> None:
    changes = "\n".join(change for change, _ in things)
    host.run(["sh", "-ec", f"cp -a /etc/postfix /etc/dovecot /etc/nginx /root/\n{changes}"])
    try:
        changed = host.run(SNAPSHOT).stdout
        assert changed != before
        done = playbook.run(beside_parts=list(PARTS.values()))
        assert done.returncode != 0
        said = " ".join(done.stdout.replace("\\n", " ").replace('\\"', '"').split())
        assert [words for _, words in things if words not in said] == [], done.stdout
        assert host.run(SNAPSHOT).stdout == changed
    finally:
        host.run("for one in postfix dovecot nginx; do rm -r /etc/$one; mv /root/$one /etc/; done")
        # Not a reload, which ends before the files are read: those of the next test may be read then.
        host.run("systemctl restart postfix@-; systemctl stop 'holds-*'; systemctl start nginx")
    assert host.run(SNAPSHOT).stdout == before


def test_check_mode_changes_nothing(host: LabHost, playbook: ByPlaybook, before: str) -> None:
    move_sites(host, "e")
    try:
        moved = host.run(SNAPSHOT).stdout
        done = playbook.run("--check", "--diff", beside_parts=list(PARTS.values()))
        assert host.run(SNAPSHOT).stdout == moved
    finally:
        move_sites(host, "Remove")
    assert done.returncode == 0, done.stdout
    assert "+smtpd_milters = { unix:chatmail/milter.sock" in done.stdout
    assert "+        ssl_preread on;" in done.stdout
    assert host.run(SNAPSHOT).stdout == before
    assert host.run("dpkg-query --show chatmail-milter", check=False).returncode != 0


# Dovecot's configuration in one file, with a userdb that knows everybody; no program of Postfix in a chroot.
UNUSUAL = r"""
cd /etc/dovecot
doveconf -nP >/root/dovecot.conf
cat >>/root/dovecot.conf <<'END'
userdb {
  driver = static
  args = uid=5000 gid=5000 home=/var/mail/virtual/%n
}
END
rm -r conf.d
mv /root/dovecot.conf dovecot.conf
postconf -X compatibility_level
postconf -F '*/*/chroot = n'
postconf -M 127.0.0.1:10029/inet='127.0.0.1:10029 inet n - n - - smtpd -o content_filter= -o smtpd_milters='
cat >>/etc/postfix/main.cf <<'END'
content_filter = smtp:[127.0.0.1]:10029
milter_default_action = accept
smtpd_milters = inet:127.0.0.1:1
transport_maps = inline:{ { x.example = discard: } }
smtpd_recipient_restrictions =
    reject_unlisted_recipient
    permit_mynetworks
    permit_sasl_authenticated
    reject_unauth_destination
END
systemctl restart postfix dovecot
"""


def test_an_unusual_host_is_added_to_without_harm(host: LabHost, mta: LabHost, playbook: ByPlaybook) -> None:
    host.run(["sh", "-ec", UNUSUAL])
    before = host.run(SNAPSHOT).stdout
    other_mail_flows(host, mta)
    playbook.add("a", "b")
    # The content filter listens on a port that (c) has by default. Without (c), no rule closes it.
    other_mail_flows(host, mta)
    playbook.add("c", "d", "e", chatmail_mixed_port=10039)
    other_mail_flows(host, mta)
    login = fresh_address(CHAT), fresh_password()

    def logs_in() -> bool:
        with contextlib.suppress(imaplib.IMAP4.error), ImapMailbox(host.ip, *login):
            return True
        return False

    until(logs_in, 60, "no account was made")
    mid = f"{secrets.token_hex(8)}@old.test"
    sealed = messages.sealed(packets.pkesk() + packets.seipd())
    virtual = VIRTUAL, PASSWORD
    assert smtp.submit(host.ip, virtual, [login[0]], by(VIRTUAL, sealed, mid)).code == 250
    with ImapMailbox(host.ip, *login) as mailbox:
        until(lambda: mailbox.find(mid), 60, "the encrypted mail did not come")
        assert b"STORAGE " in b"".join(mailbox.ask(b"GETQUOTAROOT INBOX"))
    clear = by(login[0], messages.text())
    assert smtp.submit(host.ip, login, [VIRTUAL], clear).code == 523
    assert host.run("postconf -h transport_maps").stdout.endswith(", inline:{ { x.example = discard: } }\n")
    assert by_imap_on_443(host.ip, *login) == "OK"
    refused = playbook.run(chatmail_state="absent")
    assert refused.returncode != 0
    inside = "sites-enabled/shop:3: `listen 127.0.0.1:11443 ssl proxy_protocol`: nothing reaches that site"
    assert inside in refused.stdout
    assert PAGE.encode() in page(host, SITE)
    playbook.remove()
    assert host.run(SNAPSHOT).stdout == before
    assert PAGE.encode() in page(host, SITE)
    other_mail_flows(host, mta)
