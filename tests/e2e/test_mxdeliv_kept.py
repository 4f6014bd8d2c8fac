"""The app's kept connections to Postfix, with a real Postfix and its milters."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.chat import pgp, signature
from tests.chat.deadline import until
from tests.chat.imap import ImapMailbox
from tests.chat.person import fresh_address, fresh_password
from tests.lab import Lab
from tests.lab.host import LabHost
from tests.lab.plan import PROGRAMS

PEER = "peer.lab"
SENDER = f"someone12345@{PEER}"
ADDRESSES = ["192.0.2.7", "198.51.100.7", "2001:db8::7"]
SECONDS = 30.0

KILL_SMTPD = "kill -KILL $(pidof smtpd)"
# One that is dying may yet accept a connection, and its own are open until the kernel has put it away.
SMTPD_GONE = (
    "pids=$(pidof smtpd); kill -KILL $pids; for pid in $pids; do while kill -0 $pid; do :; done; done 2>&-"
)

# Posts to the app as nginx does, so that peers of any address can be played: [address, recipient, message], …
_POST = """
import http.client, json, socket, sys
for address, sender, recipient, message in json.load(sys.stdin):
    client = http.client.HTTPConnection("b", timeout=60)
    client.sock = socket.socket(socket.AF_UNIX)
    client.sock.connect("/run/mxdeliv-app/app.sock")
    fields = {"X-Real-IP": address, "X-Mail-From": sender, "X-Mail-To": recipient}
    client.request("POST", "/mxdeliv", message.encode(), fields)
    answer = client.getresponse()
    print(answer.status, answer.read().decode().splitlines()[0])
    client.close()
"""


class Posted:
    """Messages for one reader, from peers of any address, and which of them were taken."""

    def __init__(self, lab: Lab, host: LabHost) -> None:
        self._lab, self._host = lab, host
        self.login = fresh_address(host.domain), fresh_password()
        self.taken: list[str] = []
        self.cut_off: list[str] = []
        with ImapMailbox(host.ip, *self.login):
            pass  # a first login makes the account

    def post(self, *addresses: str, recipient: str = "", sender: str = SENDER) -> list[str]:
        """One message from each address, one after the other: what each was told."""
        to = recipient or self.login[0]
        mids = [pgp.message_id() for _ in addresses]
        posts = [
            (
                address,
                sender,
                to,
                signature.sign(pgp.encrypted(SENDER, to, mid), PEER, self._lab.paths).decode(),
            )
            for address, mid in zip(addresses, mids, strict=True)
        ]
        said = self._host.run([f"{PROGRAMS}/python3", "-c", _POST], input=json.dumps(posts))
        told = said.stdout.splitlines()
        for mid, line in zip(mids, told, strict=True):
            if line.startswith("200 "):
                self.taken.append(mid)
            elif line.startswith("503 451 4.3.0 "):
                self.cut_off.append(mid)
        return told

    def each_is_there_once(self) -> None:
        """Wait for what was taken; nothing else may be there, and nothing twice."""
        assert self._arrived() == Counter(self.taken)

    def _arrived(self) -> Counter[str]:
        """How often each message is there, by Message-ID, once all have come that were taken."""
        with ImapMailbox(self._host.ip, *self.login) as mailbox:

            def found() -> Counter[str] | None:
                # What was on its way to Dovecot while Postfix was reloaded waits for minutes by itself.
                self._host.run("postqueue -f")
                ids = (re.findall(rb"(?im)^message-id: <(.*)>", one)[0] for one in mailbox.messages())
                there = Counter(one.decode() for one in ids)
                return there if set(self.taken) <= there.keys() else None

            return until("all arrive", found, SECONDS, every=1)

    def each_was_queued_once(self, since: str) -> None:
        """Wait for what was taken to be in the queue: once, and what lost its answer at most once.

        It may be in the mailbox twice: a Postfix that is stopped amid a delivery to Dovecot makes it again.
        """
        assert self._arrived().keys() <= {*self.taken, *self.cut_off}
        until("all are queued", lambda: set(self.taken) <= queue_files(self._host, since).keys(), SECONDS)
        # Others' mail may pass meanwhile.
        ours = {*self.taken, *self.cut_off}
        assert {times for mid, times in queue_files(self._host, since).items() if mid in ours} == {1}


@pytest.fixture
def posted(lab: Lab, b: LabHost) -> Posted:
    return Posted(lab, b)


def said_to_postfix(host: LabHost, since: str, service: str = "postfix/mxdeliv/smtpd") -> list[str]:
    """What the port behind `/mxdeliv` has logged."""
    # Not journalctl's own filter: after a cursor it leaves out the first entry that matches.
    entries = host.journal(since=since)
    return [str(one["MESSAGE"]) for one in entries if one.get("SYSLOG_IDENTIFIER") == service]


def clients(host: LabHost, since: str) -> list[str]:
    """From whom Postfix took each message to be; others' mail may pass between those of `ADDRESSES`."""
    lines = said_to_postfix(host, since)
    return [found[1] for line in lines if (found := re.search(r"client=unknown\[(.*?)\]", line))]


def queue_files(host: LabHost, since: str) -> Counter[str]:
    """How often each message was put into the queue, by Message-ID."""
    lines = said_to_postfix(host, since, "postfix/cleanup")
    taken = said_to_postfix(host, since, "postfix/qmgr")
    matches = (re.match(r"(\w+): message-id=<(.*)>", line) for line in lines)
    named = {found[1]: found[2] for found in matches if found}
    active = {line.partition(":")[0] for line in taken if "(queue active)" in line}
    return Counter(mid for name, mid in named.items() if name in active)


def test_each_message_is_its_own_peers_on_a_connection_of_several(b: LabHost, posted: Posted) -> None:
    before, began = b.cursor(), time.monotonic()
    told = posted.post(*ADDRESSES * 4)
    # The app keeps a connection for a minute.
    minutes = int((time.monotonic() - began) / 60)
    assert {line[:9] for line in told} == {"200 250 2"}
    posted.each_is_there_once()
    came = clients(b, before)
    assert [one for one in came if one in ADDRESSES] == ADDRESSES * 4
    # One new connection of the app at most, one more for each minute, and one of who else came meanwhile.
    others = len(came) - len(ADDRESSES * 4)
    connections = sum(line.startswith("connect from ") for line in said_to_postfix(b, before))
    assert connections <= 1 + minutes + others


def test_what_is_refused_by_address_is_refused_on_a_kept_connection(b: LabHost, posted: Posted) -> None:
    blocked = ADDRESSES[1]
    b.run(f"{PROGRAMS}/chatmailctl block add {blocked}")
    try:
        told = posted.post(*ADDRESSES, *ADDRESSES, ADDRESSES[0])
    finally:
        b.run(f"{PROGRAMS}/chatmailctl block remove {blocked}")
    assert [line.split(" ")[0] for line in told] == ["200", "403", "200", "200", "403", "200", "200"]
    posted.each_is_there_once()


def test_a_refusal_spoils_nothing_for_the_next(b: LabHost, posted: Posted) -> None:
    for _ in range(3):
        assert posted.post(ADDRESSES[0])[0].startswith("200 ")
        assert posted.post(ADDRESSES[0], recipient=fresh_address(b.domain))[0].startswith("422 550 5.1.1 ")
        assert posted.post(ADDRESSES[0], sender=posted.login[0])[0].startswith("403 553 5.7.1 ")
    posted.each_is_there_once()


@pytest.mark.parametrize(
    "happens",
    [
        "systemctl restart postfix",
        "postfix reload",
        "systemctl restart chatmail-milter",
        "systemctl restart opendkim",
        SMTPD_GONE,
    ],
)
def test_nothing_is_lost_or_told_to_wait_when_it_happens_between_messages(
    b: LabHost, posted: Posted, happens: str
) -> None:
    began = b.cursor()
    assert [line[:4] for line in posted.post(*ADDRESSES * 2)] == ["200 "] * 6
    b.run(happens)
    assert [line[:9] for line in posted.post(*ADDRESSES * 2)] == ["200 250 2"] * 6
    posted.each_was_queued_once(began)


@pytest.mark.parametrize("happens", ["systemctl restart postfix", KILL_SMTPD])
def test_none_is_lost_or_doubled_when_it_happens_amid_messages(
    b: LabHost, posted: Posted, happens: str
) -> None:
    began = b.cursor()
    with ThreadPoolExecutor(4) as pool:
        under_way = [pool.submit(posted.post, *ADDRESSES * 5) for _ in range(4)]
        until("they flow", lambda: set(clients(b, began)) & set(ADDRESSES), SECONDS)
        b.run(happens)
        told = [line for one in under_way for line in one.result()]
    # Who was cut off is told "later"; whether Postfix had its message by then nobody knows, as by SMTP.
    assert {line.split(" ")[0] for line in told} <= {"200", "503"}
    assert len(posted.taken) + len(posted.cut_off) == len(told)
    assert len(posted.taken) > 0
    posted.each_was_queued_once(began)
