"""A relay moves to another host, and is restored after a loss, by the commands of docs/backup.md.

Before and after, Delta Chat and a plain IMAP client use their accounts, and do not log in anew.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from tests.chat import carol, firewall, login, pgp, relay, smtp
from tests.chat.carol import CAROL
from tests.chat.core import Core
from tests.chat.deadline import until
from tests.chat.imap import ImapMailbox
from tests.chat.person import Person, fresh_address, fresh_password
from tests.chat.stage import Stage
from tests.e2e.conftest import Login
from tests.e2e.playbook import playbook
from tests.lab import Lab, bare
from tests.lab.bare import SERVICES
from tests.lab.host import LabHost
from tests.lab.plan import REPOSITORY

PAGE = (REPOSITORY / "docs/backup.md").read_text("utf-8")
# Files that are one relay's own.
OWN = "cat /etc/opendkim/keys/*.private /etc/chatmail/*.key /etc/chatmail/tls/* | sha256sum"
SECONDS = 60.0
DIRECTORY = "/var/backups/relay"
# It finds that DNS has records of the lab only.
STATUSES = {"chatmailctl doctor": {0, 1, 3}}


def commands(section: str) -> list[tuple[str, str]]:
    """The commands of a section of the page, each with its host, which is empty where there is one only."""
    text = PAGE.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return re.findall(r"^ *(\w*)# (.+)$", text, re.MULTILINE)


def seen(ip: str, account: Login) -> list[bytes]:
    """What an IMAP client sees: UIDVALIDITY of each folder; UID, flags, time and octets of each message."""
    lines = []
    with ImapMailbox(ip, *account) as mailbox:
        for folder in (b"INBOX", b"Archive"):
            lines += mailbox.ask(b"STATUS " + folder + b" (MESSAGES UIDVALIDITY UNSEEN)")[:-1]
            mailbox.ask(b"EXAMINE " + folder)
            lines += mailbox.ask(b"UID FETCH 1:* (FLAGS INTERNALDATE BODY.PEEK[])")[:-1]
    return lines


def is_waiting(host: LabHost, domain: str) -> bool:
    """Whether mail for a domain is deferred."""
    return any(domain in row["domains"] and row["queue"] == "deferred" for row in relay.ctl(host, "queue"))


def has_sent_all(host: LabHost, command: str) -> bool:
    return host.run(command).stdout == "The queue is empty.\n"


@dataclass(frozen=True)
class BackedUpRelay:
    """_a.lab and its two hosts, of which the new one is bare.

    `account` is Ann's whom no core knows, `published` is what DNS said of the relay before it moved.
    """

    lab: Lab
    old: LabHost
    new: LabHost
    stage: Stage
    ann: Person
    ben: Person
    account: Login
    published: str

    def deploy(self) -> None:
        """Run the playbook on the new host, with the variables of the old one but the addresses."""
        done = playbook(self.lab, self.old, ansible_host=self.new.ip, dns_records_ipv4=self.new.ip)
        assert done.returncode == 0, done.stdout + done.stderr

    def copy(self) -> None:
        """`rsync --archive --delete` of the backup to the new host."""
        there, here = (self.lab.paths.root(one.host) / DIRECTORY[1:] for one in (self.old, self.new))
        shutil.rmtree(here, ignore_errors=True)
        subprocess.run(["cp", "--archive", there, here], check=True)

    def switch_off_the_old_host(self) -> None:
        self.old.run(f"systemctl stop {SERVICES}")
        self.old.unplug()

    @property
    def records(self) -> Path:
        return self.lab.paths.records(self.old.host)

    def point_records(self) -> None:
        """Publish the address of the new host; peers forget the other one when its TTL is over."""
        assert self.old.ip in self.published
        self.records.write_text(self.published.replace(self.old.ip, self.new.ip), "utf-8")
        self.lab.publish()
        self.lab.host("b").run("systemctl restart unbound")

    def end(self) -> None:
        """The relay is on the old host, as before."""
        self.old.plug()
        self.old.run(f"systemctl start {SERVICES}; rm -rf {DIRECTORY}")
        self.records.write_text(self.published, "utf-8")
        self.lab.publish()
        for host in (self.old, self.lab.host("b")):
            host.run("systemctl restart unbound")
            relay.forget_endpoints(host)


@pytest.fixture(scope="module")
def moved(lab: Lab, a: LabHost, b: LabHost, stage: Stage) -> Iterator[BackedUpRelay]:
    """Two people, one on each relay, and a bare host. Afterwards _a.lab is on its own host, as before."""
    # The people of other tests must not see what happens to their mailboxes on the other host.
    stage.core.rpc.stop_io_for_all_accounts()
    with bare.up(lab.paths, a) as new, Core(lab.netns("client")) as core:
        ours = Stage(lab, core)
        ann, ben = ours.newcomer(a.domain), ours.newcomer(b.domain)
        ours.acquaint(ann, ben)
        account = fresh_address(a.domain), fresh_password()
        published = lab.paths.records(a.host).read_text("utf-8")
        there = BackedUpRelay(lab, a, new, ours, ann, ben, account, published)
        try:
            yield there
        finally:
            there.end()
            stage.core.rpc.start_io_for_all_accounts()


def fill(ip: str, account: Login) -> None:
    """Two folders: mail with flags and of another day, and a UID that is used no more."""
    with ImapMailbox(ip, *account) as mailbox:
        mailbox.make_folder("Archive")
        for number, (folder, flags) in enumerate(
            (("INBOX", ""), ("INBOX", "\\Seen"), ("Archive", "\\Flagged"))
        ):
            text = pgp.encrypted(account[0], account[0], pgp.message_id())
            mailbox.put(text, days=number, flags=flags, folder=folder)
        mailbox.put(text, flags="\\Deleted")
        mailbox.ask(b"EXPUNGE")


def test_apps_do_not_notice_that_the_relay_moves(moved: BackedUpRelay, b: LabHost, mta: LabHost) -> None:
    old, new, stage, ann, ben = moved.old, moved.new, moved.stage, moved.ann, moved.ben
    hosts = {"old": old, "new": new}
    stage.say(ann, ben)
    stage.say(ben, ann)
    fill(old.ip, moved.account)
    with firewall.closed(mta, 25, "refuse"):
        mid = pgp.message_id()
        text = pgp.encrypted(moved.account[0], CAROL, mid)
        assert smtp.submit(old.ip, moved.account, [CAROL], text).code == 250
        until("a message waits", lambda: is_waiting(old, "mta.lab"), 20)
    before, own = seen(old.ip, moved.account), old.run(OWN).stdout
    chats = {
        one: (one.chat_with(other), one.texts(one.chat_with(other)))
        for one, other in ((ann, ben), (ben, ann))
    }
    assert new.run(OWN).stdout != own

    marks = {one: one.events.mark() for one in (ann, ben)}
    done = []
    for name, command in commands("Moving to another host"):
        if command == "chatmailctl queue":
            until("nothing waits", partial(has_sent_all, hosts[name], command), SECONDS)
            continue
        if command.startswith("chatmailctl restore"):
            moved.switch_off_the_old_host()
            ann.send(chats[ann][0], "from a phone without a relay")
            ben.send(chats[ben][0], "to a relay that is away")
            until("a message for the relay waits", lambda: is_waiting(b, old.domain), 30)
        status = hosts[name].run(command, check=False)
        assert status.returncode in STATUSES.get(command, {0}), (command, status.stdout, status.stderr)
        done.append(command.split()[1])
        if command.startswith("chatmailctl backup"):
            moved.copy()
        if command.startswith("chatmailctl restore"):
            moved.point_records()
            moved.deploy()
    assert done == ["backup", "queue", "stop", "backup", "restore", "doctor"]

    relay.forget_endpoints(b)
    b.run("postqueue -f")
    for one, words in ((ann, "to a relay that is away"), (ben, "from a phone without a relay")):
        one.received_text(words, marks[one], SECONDS)
    stage.say(ann, ben)
    stage.say(ben, ann)
    for one, (chat, texts) in chats.items():
        # The two from the time without a relay come in either order.
        now = one.texts(chat)
        assert (now[: len(texts)], len(now)) == (texts, len(texts) + 4)
    assert seen(new.ip, moved.account) == before
    assert new.run(OWN).stdout == own
    assert "AUTHENTICATIONFAILED" in login.by_imap(new.ip, moved.account[0], fresh_password())
    until("Carol has what waited", partial(carol.find, mta, mid), SECONDS)


def test_what_comes_after_a_loss_reaches_apps_that_saw_more(moved: BackedUpRelay) -> None:
    """The app has seen mail that came after the backup: UIDs of that mail must not be used again."""
    host, stage, ann, ben = moved.new, moved.stage, moved.ann, moved.ben
    own = host.run(OWN).stdout
    host.run(f"rm -r {DIRECTORY}")
    ((_, command),) = commands("A backup")
    host.run(command)
    for _ in range(3):
        stage.say(ben, ann)
    chat = ann.chat_with(ben)
    texts = ann.texts(chat)
    ann.go_offline()
    bare.lay_bare(host)
    assert host.run(OWN).stdout != own
    ((_, command),) = commands("Restoring")
    host.run(command)
    assert host.run(OWN).stdout == own

    sent = [ben.send(ben.chat_with(ann), f"after the loss {number}") for number in range(5)]
    for one in sent:
        ben.sent(one, SECONDS)
    until("all have come", lambda: not relay.queued(moved.lab.host("b"), ann.address), SECONDS)
    ann.go_online()
    until("Ann has all", lambda: len(ann.texts(chat)) >= len(texts) + 5, SECONDS)
    assert sorted(ann.texts(chat)) == sorted([*texts, *(f"after the loss {number}" for number in range(5))])
    stage.say(ann, ben)
