"""The relays of the earlier version before the upgrade: accounts, settings, mail and a queue."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.chat import pgp, smtp
from tests.chat.deadline import until
from tests.chat.imap import ImapMailbox, new_account
from tests.faults import census
from tests.lab import Lab, ca
from tests.lab.host import LabHost
from tests.upgrade.mailbox import ImapFolder, Login, look
from tests.upgrade.relay_state import RelayState, operate, state

# A peer that is away: no host has its address, until `return_peer`.
PEER, PEER_IP = "away.lab", "10.77.0.91"
PEER_READER = f"reader@{PEER}"
# Of one account at each relay.
OWN_QUOTA = "300MiB"
FOLDERS = ("INBOX", "Archive")
_QUEUED, _HELD = 3, 2


@dataclass(frozen=True)
class Scene:
    """`folders`: what the keeper's were. `queued`, `held`: Message-IDs; the held ones are for `reader_b`."""

    lab: Lab
    writer_a: Login
    writer_b: Login
    keeper: Login
    reader_a: Login
    reader_b: Login
    suspended: Login
    queued: Sequence[str]
    held: Sequence[str]
    folders: dict[str, ImapFolder]
    states: dict[str, RelayState]

    @property
    def a(self) -> LabHost:
        return self.lab.host("a")

    @property
    def b(self) -> LabHost:
        return self.lab.host("b")

    def state(self, host: LabHost) -> RelayState:
        """As it is now."""
        return state(host, self._on(host)[0])

    def folders_now(self) -> dict[str, ImapFolder]:
        return {name: look(self.a.ip, self.keeper, name) for name in FOLDERS}

    def _on(self, host: LabHost) -> Login:
        return self.keeper if host.name == "a" else self.reader_b

    def waiting(self) -> list[str]:
        """Which of `queued` and `held` are in the queue of _a.lab."""
        tag = self.queued[0].partition(".")[0]
        return sorted(census.take([self.a], tag).queued.elements())

    def statuses(self) -> dict[str, int]:
        """How many messages each queue of _a.lab has for the recipients of those."""
        counts = {"deferred": 0, "hold": 0}
        for row in _queue(self.a, PEER_READER, self.reader_b[0]):
            if row["queue_name"] in counts:
                counts[row["queue_name"]] += 1
        return counts

    def arrived_at_peer(self) -> list[str]:
        """The Message-IDs in the mailbox of `PEER_READER`."""
        found = self.lab.host("mta").run(
            "grep --recursive --no-filename --ignore-case '^message-id:' /home/reader/Maildir/new",
            check=False,
        )
        return sorted(line.partition("<")[2].rstrip(">") for line in found.stdout.splitlines())

    def return_peer(self) -> None:
        """Let the peer be there again: mta.lab takes its address, its domain and its certificate."""
        mta = self.lab.host("mta")
        for file, name in zip(ca.issue(self.lab.paths.ca, [PEER]), ("lab.crt", "lab.key"), strict=True):
            mta.run(["sh", "-c", f"cat >/etc/postfix/{name}"], input=file.read_text(encoding="ascii"))
        mta.run(
            f"ip address add {PEER_IP}/24 dev $(ip -oneline address show to {mta.ip} | cut -d' ' -f2)"
            f" && postconf -e 'mydestination = {mta.domain}, {PEER}' && postfix reload"
        )
        self.a.run("postsuper -H ALL && postqueue -f")


def prepare(lab: Lab) -> Scene:
    """Make all of it. The earlier version has just been deployed."""
    a, b = lab.host("a"), lab.host("b")
    _announce_peer(lab)
    writer_a, keeper, reader_a, suspended = (new_account(a) for _ in range(4))
    writer_b, reader_b = new_account(b), new_account(b)
    _keep_mail(a, writer_a, keeper)
    for host, own in ((a, keeper), (b, reader_b)):
        operate(host, "account", "quota", own[0], OWN_QUOTA)
        operate(host, "block", "add", "--note", "a note", "spammer@spam.example", "spam.example")
        operate(host, "federation", "add", "closed.example")
        operate(host, "route", "set", "routed.example", "https://routed.example:8443")
        operate(host, "token", "create", "--uses", "3")
    operate(a, "account", "suspend", suspended[0])
    tag = pgp.message_id().partition("@")[0]
    queued = [f"{tag}.{number}@client.invalid" for number in range(_QUEUED)]
    held = [f"{tag}.{number}@client.invalid" for number in range(_QUEUED, _QUEUED + _HELD)]
    _fill_queue(a, b, writer_a, queued, held, reader_b[0])
    return Scene(
        lab, writer_a, writer_b, keeper, reader_a, reader_b, suspended, queued, held,
        {name: look(a.ip, keeper, name) for name in FOLDERS},
        {"a": state(a, keeper[0]), "b": state(b, reader_b[0])},
    )  # fmt: skip


def _announce_peer(lab: Lab) -> None:
    records = lab.paths.signers_records.with_name("away.zone")
    records.write_text(f"{PEER}.  A  {PEER_IP}\n{PEER}.  MX  10 {PEER}.\n", encoding="ascii")
    lab.publish()


def _keep_mail(host: LabHost, writer: Login, keeper: Login) -> None:
    """Mail in two folders, delivered and appended, with flags and with a gap in the UIDs."""
    mids = [pgp.message_id() for _ in range(4)]
    for mid in mids:
        said = smtp.submit(host.ip, writer, [keeper[0]], pgp.encrypted(writer[0], keeper[0], mid))
        assert said.code == 250, said
    with ImapMailbox(host.ip, *keeper) as mailbox:
        until("the mail is there", lambda: all(mailbox.find(mid) for mid in mids), 30)
        mailbox.make_folder("Archive")
        for number in range(2):
            message = pgp.encrypted(writer[0], keeper[0], pgp.message_id())
            mailbox.put(message, days=number, flags=r"(\Seen \Flagged)", folder="Archive")
        mailbox.ask(rb"STORE 2 +FLAGS (\Seen \Answered)")
        mailbox.ask(rb"STORE 1 +FLAGS (\Deleted)")
        mailbox.ask(b"EXPUNGE")


def _fill_queue(
    a: LabHost, b: LabHost, writer: Login, queued: Sequence[str], held: Sequence[str], reader: str
) -> None:
    """Messages for a peer that is away, and some on hold for one whose Postfix was away."""
    b.run("systemctl stop postfix", timeout=600)
    for recipient, mids in ((PEER_READER, queued), (reader, held)):
        for mid in mids:
            said = smtp.submit(a.ip, writer, [recipient], pgp.encrypted(writer[0], recipient, mid))
            assert said.code == 250, said

    def deferred() -> bool:
        rows = _queue(a, PEER_READER, reader)
        return len(rows) == len(queued) + len(held) and all(row["queue_name"] == "deferred" for row in rows)

    until("all of it is deferred", deferred, 120, every=0.5)
    ids = [row["queue_id"] for row in _queue(a, reader)]
    a.run(["postsuper", *(word for one in ids for word in ("-h", one))])
    b.run("systemctl start postfix", timeout=600)


def _queue(host: LabHost, *recipients: str) -> list[dict[str, Any]]:
    """Postfix's messages for these, as postqueue(1) describes them."""
    rows = [json.loads(line) for line in host.run(["postqueue", "-j"]).stdout.splitlines()]
    return [row for row in rows if set(recipients) & {one["address"] for one in row["recipients"]}]
