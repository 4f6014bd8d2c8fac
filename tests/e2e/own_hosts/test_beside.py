"""A chat domain on a host that serves other mail: added by hand and by the playbook, used, and removed again.

By hand are the lines of docs/install-by-hand.md. The tests stand in its order, and each goes on where the one
before ended; all of them run by hand first, and then by the playbook on another host.
"""

from __future__ import annotations

import contextlib
import imaplib
import secrets
import smtplib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import messages, packets
from tests.chat import mxdeliv, smtp
from tests.chat.imap import ImapMailbox
from tests.chat.login import by_imap_on_443
from tests.chat.person import fresh_address, fresh_password
from tests.e2e.own_hosts.beside import (
    BESIDE,
    CHAT,
    PORTS,
    PORTS_OF_443,
    SECONDS,
    SNAPSHOT,
    STRANGER,
    ByHand,
    ByPlaybook,
    by,
    knocking,
    move_sites,
    other_mail_flows,
    other_mail_meanwhile,
    page,
)
from tests.lab import Lab, old
from tests.lab.deployment import PLAYBOOK, recap
from tests.lab.host import LabHost
from tests.lab.old import PAGE, PASSWORD, SITE, USER, VIRTUAL
from tests.lab.plan import OLD
from tests.lab.visitor import seen_as
from tests.lab.wait import until

SEALED = messages.sealed(packets.pkesk() + packets.seipd())
VISITOR = "10.77.0.95"
CLEARTEXT = "523 5.7.1 Encryption Needed: Invalid Unencrypted Mail"


@pytest.fixture(scope="module", params=[ByHand, ByPlaybook])
def way(hosts: Lab, request: pytest.FixtureRequest) -> Iterator[ByHand | ByPlaybook]:
    with old.up(hosts.paths) as host:
        yield request.param(hosts, host)


@pytest.fixture(scope="module")
def host(hosts: Lab, way: ByHand | ByPlaybook) -> LabHost:
    assert way
    return LabHost(OLD, hosts.paths)


@pytest.fixture(scope="module")
def playbook(way: ByHand | ByPlaybook) -> ByPlaybook:
    if isinstance(way, ByHand):
        pytest.skip("what only the playbook does")
    return way


@pytest.fixture(scope="module")
def before(host: LabHost) -> str:
    """The configuration as it was."""
    return host.run(SNAPSHOT).stdout


@pytest.fixture(scope="module")
def login(host: LabHost) -> tuple[str, str]:
    """An account of the chat domain, made by its first login."""
    found = fresh_address(CHAT), fresh_password()

    def logs_in() -> bool:
        # On a busy machine the hooks may be late, which Dovecot calls a temporary failure.
        with contextlib.suppress(imaplib.IMAP4.error), ImapMailbox(host.ip, *found):
            return True
        return False

    until(logs_in, SECONDS, "no account was made")
    return found


def test_other_mail_flows_before(host: LabHost, mta: LabHost, before: str) -> None:
    assert before
    other_mail_flows(host, mta)


@pytest.mark.parametrize("parts", [("Install", "a"), ("b", "c"), ("d", "e")], ids="+".join)
def test_other_mail_flows_after_each_part(
    host: LabHost, mta: LabHost, way: ByHand | ByPlaybook, parts: tuple[str, ...]
) -> None:
    for step in way.steps(*parts):
        with other_mail_meanwhile(host):
            way.add(*step)
        other_mail_flows(host, mta)
        assert PAGE.encode() in page(host, SITE)
    host.run("chatmailctl config check")


def test_values_that_the_operator_adds_go_behind_ours(host: LabHost, playbook: ByPlaybook) -> None:
    added = "header_checks = inline:{ { /^X-Old:/ = IGNORE } }\nsmtpd_milters = inet:127.0.0.1:1\n"
    kept = host.run("cat /etc/postfix/main.cf").stdout
    host.run(["sh", "-ec", "cat >/etc/postfix/main.cf"], input=added + kept)
    try:
        assert playbook.run().returncode == 0
        ours = "{ unix:chatmail/milter.sock, default_action=tempfail }"
        assert host.run("postconf -h smtpd_milters").stdout == f"{ours}, inet:127.0.0.1:1\n"
    finally:
        # What the next run finds is what it would write.
        host.run(["sh", "-ec", "cat >/etc/postfix/main.cf; postfix reload"], input=kept)


@pytest.mark.parametrize(
    ("of", "variables"), [(BESIDE, {}), (PLAYBOOK, {"chatmail_stack": "beside"})], ids=["beside", "site"]
)
def test_a_run_without_any_change_of_the_operator_s_changes_nothing(
    playbook: ByPlaybook, of: Path, variables: dict[str, str]
) -> None:
    done = playbook.run(of=of, **variables)
    assert done.returncode == 0, done.stdout
    assert recap(done.stdout).changed == 0, done.stdout
    assert "TASK [beside : Copy the configuration as it is, before the first change]" in done.stdout


def test_the_milter_says_that_it_let_other_mail_by(host: LabHost) -> None:
    host.sync_journal()
    lines = host.run("journalctl -u chatmail-milter -o cat").stdout.splitlines()
    roads = {line.split()[0] for line in lines if " verdict=pass reason=other-domain queue=" in line}
    # Named by Debian's master.cf, and not by us.
    assert roads == {"road=smtp", "road=submission"}
    assert not [line for line in lines if "verdict=reject" in line]


def test_no_cleartext_from_or_to_the_chat_domain(host: LabHost, login: tuple[str, str]) -> None:
    address = login[0]
    clear = messages.text()
    bob = "bob", PASSWORD
    assert smtp.deliver(host.ip, STRANGER, [address], by(STRANGER, clear)).line == CLEARTEXT
    assert smtp.submit(host.ip, login, ["reader@mta.lab"], by(address, clear)).line == CLEARTEXT
    assert smtp.submit(host.ip, login, [USER], by(address, clear)).line == CLEARTEXT
    for recipients in ([address], [VIRTUAL, address]):
        refused = smtp.submit(host.ip, bob, recipients, by(USER, clear), sender=USER)
        assert refused.line == CLEARTEXT
    # By sendmail(1), which asks no login: it comes back to who sent it.
    mid = f"{secrets.token_hex(8)}@old.test"
    host.run(["sendmail", "-f", USER, address], input=by(USER, clear, mid).decode().replace("\r\n", "\n"))
    report = "grep -rl 'Encryption Needed' /home/bob/Maildir/new"
    until(lambda: host.run(report, check=False).stdout, SECONDS, "no report of what sendmail took")
    with ImapMailbox(host.ip, *login) as mailbox:
        assert mailbox.messages() == []


def test_encrypted_mail_of_another_domain_s_user_comes_in(host: LabHost, login: tuple[str, str]) -> None:
    mid = f"{secrets.token_hex(8)}@old.test"
    virtual = VIRTUAL, PASSWORD
    assert smtp.submit(host.ip, virtual, [login[0]], by(VIRTUAL, SEALED, mid)).code == 250
    with ImapMailbox(host.ip, *login) as mailbox:
        until(lambda: mailbox.find(mid), SECONDS, "the encrypted mail did not come")


def test_each_kind_of_a_mixed_envelope_gets_its_own_rules(host: LabHost, login: tuple[str, str]) -> None:
    mid = f"{secrets.token_hex(8)}@old.test"
    split = "452 4.5.3 Recipients of this domain take a transaction of their own"
    with smtp.peer(host.ip) as session:
        clear = by(STRANGER, messages.text(), mid)
        answers, end = smtp.transact(session, STRANGER, [VIRTUAL, login[0]], clear)
        assert answers[0].startswith("250 ")
        assert answers[1].startswith(split.partition(" Rec")[0])
        assert end.code == 250
        # What the peer's queue then sends again.
        assert smtp.transact(session, STRANGER, [login[0]], clear)[1].line == CLEARTEXT
    with ImapMailbox(host.ip, VIRTUAL, PASSWORD) as mailbox:
        until(lambda: mailbox.find(mid), SECONDS, "the other domain's part did not come")


def test_nobody_else_sends_as_a_chat_domain_s_address(host: LabHost, login: tuple[str, str]) -> None:
    address = login[0]
    not_owned = "553 5.7.1 Sender address rejected: not owned by user"
    virtual = VIRTUAL, PASSWORD
    assert (
        smtp.submit(host.ip, virtual, ["reader@mta.lab"], by(address, SEALED), sender=address).line
        == not_owned
    )
    forged = smtp.submit(host.ip, virtual, ["reader@mta.lab"], by(address, SEALED))
    assert forged.line == f"500 5.7.1 Invalid FROM <{address}> for <{VIRTUAL}>"
    outside = smtp.deliver(host.ip, address, [USER], by(address, SEALED))
    assert outside.line == "553 5.7.1 Senders of this domain log in and submit"


def test_unknown_names_and_wrong_passwords_fall_through_to_nobody(
    host: LabHost, login: tuple[str, str]
) -> None:
    unknown = smtp.deliver(host.ip, STRANGER, [fresh_address(CHAT)], by(STRANGER, SEALED))
    assert (unknown.stage, unknown.code) == ("RCPT", 550)
    assert smtp.submit(host.ip, (login[0], "not the password"), [USER], SEALED).stage == "AUTH"
    assert smtp.submit(host.ip, (f"bob@{CHAT}", PASSWORD), [USER], SEALED).stage == "AUTH"


def test_an_account_has_a_quota_and_what_apps_ask_for_and_others_have_not(
    host: LabHost, login: tuple[str, str]
) -> None:
    with ImapMailbox(host.ip, *login) as mailbox:
        assert b" XCHATMAIL XDELTAPUSH" in mailbox.ask(b"CAPABILITY")[0]
        assert b"STORAGE 0 488281" in b"".join(mailbox.ask(b"GETQUOTAROOT INBOX")) or mailbox.messages()
        entry = b"/shared/vendor/deltachat/maxsmtprecipients"
        assert entry in mailbox.ask(b'GETMETADATA "" ' + entry)[0]
    with ImapMailbox(host.ip, VIRTUAL, PASSWORD) as mailbox:
        assert b"XCHATMAIL" not in mailbox.ask(b"CAPABILITY")[0]


@pytest.mark.parametrize("port", PORTS + PORTS_OF_443)
def test_no_user_of_the_host_gets_at_the_loopback_ports(host: LabHost, port: int) -> None:
    connect = f"exec 3<>/dev/tcp/127.0.0.1/{port}"
    refused = host.run(["su", "bob", "-c", f"bash -c '{connect}'"], check=False)
    assert "Connection refused" in refused.stderr
    assert host.run(["bash", "-c", connect]).returncode == 0


def test_peers_bring_encrypted_mail_by_https_and_nothing_for_other_domains(
    host: LabHost, login: tuple[str, str]
) -> None:
    # Its address in DNS is that of whoever runs this; it signs nothing.
    author, mid = "carol@unsigned.lab", f"{secrets.token_hex(8)}@old.test"
    assert mxdeliv.post(host, author, [login[0]], by(author, SEALED, mid)).status == 200
    refused = mxdeliv.post(host, author, [login[0]], by(author, messages.text()))
    assert refused.line == CLEARTEXT
    assert mxdeliv.post(host, author, [USER], by(author, SEALED)).line.startswith("554 5.7.1 ")
    with ImapMailbox(host.ip, *login) as mailbox:
        until(lambda: mailbox.find(mid), SECONDS, "the peer's mail did not come")


def test_mail_to_a_peer_without_https_goes_by_smtp(
    host: LabHost, mta: LabHost, login: tuple[str, str]
) -> None:
    mid = f"{secrets.token_hex(8)}@old.test"
    assert smtp.submit(host.ip, login, ["reader@mta.lab"], by(login[0], SEALED, mid)).code == 250
    grep = f"grep --recursive --files-with-matches {mid} /home/reader/Maildir"
    until(lambda: mta.run(grep, check=False).stdout, SECONDS, "the mail did not come to the SMTP host")
    host.sync_journal()
    sent = host.run("journalctl -u mxdeliv-relay -o cat").stdout
    assert "event=delivery domain=mta.lab mode=https-first road=smtp " in sent


@pytest.mark.parametrize(
    "setting",
    [
        "transport_maps = inline:{ { mta.lab = mxdeliv:unix:chatmail/relay.sock } }",
        "default_transport = mxdeliv:unix:chatmail/relay.sock",
    ],
    ids=["chosen domains", "all"],
)
def test_mail_of_all_senders_can_go_by_the_relay(host: LabHost, mta: LabHost, setting: str) -> None:
    name, mid = setting.partition(" ")[0], f"{secrets.token_hex(8)}@old.test"
    kept, began = host.run("cat /etc/postfix/main.cf").stdout, host.cursor()
    maps = host.run("postconf -h transport_maps").stdout.strip()
    host.run(["postconf", "-e", f"{setting}, {maps}" if name == "transport_maps" else setting])
    try:
        host.run("postfix reload")
        clear = by(USER, messages.text(), mid)
        reply = smtp.submit(host.ip, ("bob", PASSWORD), ["reader@mta.lab"], clear, sender=USER)
        assert reply.code == 250
        grep = f"grep --recursive --files-with-matches {mid} /home/reader/Maildir"
        until(lambda: mta.run(grep, check=False).stdout, SECONDS, "the mail did not come to the SMTP host")
    finally:
        host.run(["sh", "-ec", "cat >/etc/postfix/main.cf; postfix reload"], input=kept)
    sent = [str(one["MESSAGE"]) for one in host.journal("-u", "mxdeliv-relay", since=began)]
    assert [line for line in sent if "event=delivery domain=mta.lab mode=https-first road=smtp " in line]


@pytest.mark.parametrize("port", [465, 993])
def test_each_name_has_its_own_certificate(host: LabHost, port: int) -> None:
    ask = f"openssl s_client -connect 127.0.0.1:{port} -servername NAME </dev/null 2>&1 | openssl x509 -text"
    shown = {name: host.run(ask.replace("NAME", name)).stdout for name in (CHAT, "old.lab")}
    assert f"DNS:{CHAT}\n" in shown[CHAT]
    assert "DNS:" in shown["old.lab"]
    assert CHAT not in shown["old.lab"]


def test_port_443_has_mail_beside_the_site_with_the_clients_address(
    host: LabHost, login: tuple[str, str]
) -> None:
    bob, mid, began = ("bob", PASSWORD), f"{secrets.token_hex(8)}@old.test", host.cursor()
    with seen_as(VISITOR, host.ip):
        assert PAGE.encode() in page(host, SITE)
        config = page(host, CHAT, "/.well-known/autoconfig/mail/config-v1.1.xml")
        assert config.count(b"<port>443</port>") == 2
        assert [by_imap_on_443(host.ip, *one) for one in (login, bob)] == ["OK", "OK"]
        with smtplib.SMTP_SSL(host.ip, 443, context=smtp.any_certificate("smtp"), timeout=120) as session:
            session.login(*login)
            _, clear = smtp.transact(session, login[0], [login[0]], by(login[0], messages.text()))
            assert clear.line == CLEARTEXT
            _, sealed = smtp.transact(session, login[0], [login[0]], by(login[0], SEALED, mid))
            assert sealed.code == 250
    with ImapMailbox(host.ip, *login) as mailbox:
        until(lambda: mailbox.find(mid), SECONDS, "what was submitted on 443 did not come")
    assert host.run("cut -d' ' -f1 /var/log/nginx/shop.log | tail -n 1").stdout == f"{VISITOR}\n"
    lines = [str(one["MESSAGE"]) for one in host.journal(since=began)]
    assert (
        len([line for line in lines if line.startswith("imap-login: Login") and f"rip={VISITOR}," in line])
        == 2
    )
    assert [line for line in lines if f"[{VISITOR}]" in line and f"sasl_username={login[0]}" in line]


def test_old_mail_of_the_chat_domain_is_removed_and_no_other(host: LabHost, login: tuple[str, str]) -> None:
    old_mail, new_mail = (f"{secrets.token_hex(8)}@old.test" for _ in range(2))
    for account in (login, (VIRTUAL, PASSWORD)):
        with ImapMailbox(host.ip, *account) as mailbox:
            # The limits are 20 days.
            mailbox.put(by(STRANGER, SEALED, old_mail), days=20.1)
            mailbox.put(by(STRANGER, SEALED, new_mail), days=19.9)
    assert host.run("systemctl is-active chatmail-expire.timer").stdout == "active\n"
    before = host.cursor()
    # A timer may have begun a pass before.
    host.run("systemctl restart chatmail-expire.service")
    lines = [str(one["MESSAGE"]) for one in host.journal("-u", "chatmail-expire", since=before)]
    assert [line for line in lines if "what=pass " in line and " failures=0 " in line]
    with ImapMailbox(host.ip, *login) as mailbox:
        assert not mailbox.find(old_mail)
        assert mailbox.find(new_mail)
    with ImapMailbox(host.ip, VIRTUAL, PASSWORD) as mailbox:
        assert mailbox.find(old_mail)


def test_the_ports_of_parts_that_are_taken_away_are_closed_to_users_until_nobody_listens(
    host: LabHost, playbook: ByPlaybook
) -> None:
    move_sites(host, "Remove")
    with knocking(host) as open_ports:
        done = playbook.run(beside_parts=["milter", "accounts"])
    assert done.returncode == 0, done.stdout
    assert open_ports == []
    rules = host.run("nft list table inet chatmail_loopback").stdout
    assert [port for port in PORTS + PORTS_OF_443 if f"dport {port} " in rules] == [10028, 10031]
    assert PAGE.encode() in page(host, SITE)


def test_after_removal_the_configuration_is_what_it_was_octet_for_octet(
    host: LabHost, mta: LabHost, before: str, way: ByHand | ByPlaybook
) -> None:
    with knocking(host) as open_ports, other_mail_meanwhile(host):
        way.remove()
    assert open_ports == []
    assert host.run(SNAPSHOT).stdout == before
    assert "chatmail" not in host.run("ls /etc/systemd/system /lib/systemd/system").stdout
    assert host.run("nft list tables").stdout == ""
    assert host.run("ls /etc/chatmail", check=False).stdout.split() == ["names.key", "store.key"]
    other_mail_flows(host, mta)
    assert PAGE.encode() in page(host, SITE)
