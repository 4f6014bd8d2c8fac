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
from tests.chat.person import fresh_address, fresh_password
from tests.e2e.beside import CHAT, PARTS, SNAPSHOT, ByPlaybook, by, other_mail_flows
from tests.lab import Lab, old
from tests.lab.host import LabHost
from tests.lab.old import PASSWORD, VIRTUAL
from tests.lab.wait import until

# What an operator may have, and what the playbook says of it.
IN_THE_WAY = {
    "milters of a service": (
        "postconf -P submissions/inet/smtpd_milters=inet:127.0.0.1:1",
        "submissions/inet/smtpd_milters = inet:127.0.0.1:1: that service would not ask our milter",
    ),
    "no milters": (
        "postconf -P smtp/inet/receive_override_options=no_milters",
        "smtp/inet/receive_override_options = no_milters: that service asks no milter",
    ),
    "destination": (f"postconf -e 'mydestination=old.lab, {CHAT}'", f"take {CHAT} out of mydestination"),
    "table": (
        "postconf -e 'virtual_mailbox_domains=shop.lab, inline:{{_c.lab=x}}'",
        f"take {CHAT} out of virtual_mailbox_domains",
    ),
    "service": (
        "postconf -M mxdeliv/unix='mxdeliv unix - - n - - lmtp'",
        "a service named mxdeliv is there already",
    ),
    "filter": (
        "postconf -M 127.0.0.1:10050/inet='127.0.0.1:10050 inet n - y - - smtpd -o content_filter='; "
        "postconf -e content_filter=smtp:[127.0.0.1]:10050",
        "127.0.0.1:10050 takes back what content_filter gave away",
    ),
    "instances": (
        "postconf -e multi_instance_directories=/etc/postfix-out",
        "this Postfix has several instances",
    ),
    "no setting": (
        "echo 'smtpd_milters inet:1' >>/etc/postfix/main.cf",
        "correct Postfix's configuration first",
    ),
    "logins without domain": (
        "echo 'auth_username_format = %n' >/etc/dovecot/conf.d/99-x.conf",
        "auth_username_format takes the domain off a login",
    ),
    "Dovecot's error": (
        "echo 'no such = x' >/etc/dovecot/conf.d/99-x.conf",
        "correct Dovecot's configuration first",
    ),
    "Dovecot's file of root": (
        "chmod 600 /etc/dovecot/conf.d/50-operator.conf",
        "chatmail-expire, which runs as vmail, could not remove old mail",
    ),
    "site": (
        f"echo 'server {{ listen 80; server_name x.lab {CHAT}; }}' >/etc/nginx/sites-available/x",
        f"nginx: /etc/nginx/sites-available/x serves {CHAT} already",
    ),
    "port": (
        "printf '127.0.0.1:10025 inet n - y - - smtpd\\n' >>/etc/postfix/master.cf; postfix reload; "
        "until ss -Hltn 'sport = :10025' | grep -q .; do sleep 0.2; done",
        "another program listens on port 10025 (",
    ),
}


@pytest.fixture(scope="module")
def host(lab: Lab) -> Iterator[LabHost]:
    with old.up(lab.paths) as host:
        yield host


@pytest.fixture(scope="module")
def playbook(lab: Lab, host: LabHost) -> ByPlaybook:
    return ByPlaybook(lab, host)


@pytest.fixture(scope="module")
def before(host: LabHost) -> str:
    """The configuration as it was."""
    return host.run(SNAPSHOT).stdout


@pytest.mark.parametrize(("change", "words"), IN_THE_WAY.values(), ids=IN_THE_WAY)
def test_a_host_with_something_in_the_way_is_refused_and_left_as_it_is(
    host: LabHost, playbook: ByPlaybook, before: str, change: str, words: str
) -> None:
    host.run(["sh", "-ec", f"cp -a /etc/postfix /etc/dovecot /etc/nginx /root/\n{change}"])
    try:
        changed = host.run(SNAPSHOT).stdout
        assert changed != before
        done = playbook.run(beside_parts=list(PARTS.values()))
        assert done.returncode != 0
        assert words in " ".join(done.stdout.split())
        assert host.run(SNAPSHOT).stdout == changed
    finally:
        host.run("for one in postfix dovecot nginx; do rm -r /etc/$one; mv /root/$one /etc/; done")
        host.run("postfix reload")
    assert host.run(SNAPSHOT).stdout == before


def test_check_mode_changes_nothing(host: LabHost, playbook: ByPlaybook, before: str) -> None:
    done = playbook.run("--check", "--diff", beside_parts=list(PARTS.values()))
    assert done.returncode == 0, done.stdout
    assert "+smtpd_milters = { unix:chatmail/milter.sock" in done.stdout
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
    for part in ("a", "b"):
        playbook.add(part)
        # The content filter's port is one of (c) by default, which is not there: nobody closes it.
        other_mail_flows(host, mta)
    for part in ("c", "d"):
        playbook.add(part, chatmail_mixed_port=10039)
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
    playbook.remove()
    assert host.run(SNAPSHOT).stdout == before
    other_mail_flows(host, mta)
