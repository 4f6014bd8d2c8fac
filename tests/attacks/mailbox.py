"""A stranger who fills one user's mailbox, again and again: other people's mail to that user is not lost."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.attacks.trial import Attack, AttackScene
from tests.chat import pgp, relay, signature, smtp
from tests.chat.deadline import until
from tests.chat.imap import ImapMailbox
from tests.chat.person import fresh_address, fresh_password

STRANGER, FRIEND = "x@other.lab", "friend@peer.lab"
QUOTA = 1_000_000
# Octets of random text, which make a message of some 7 % of the quota; and how many of them at most.
EACH, MOST = 50_000, 200
# Of a friend, each a tenth of the quota.
UNREAD = 4


@contextmanager
def flooded(scene: AttackScene) -> Iterator[str]:
    login = fresh_address(scene.host.domain), fresh_password()
    with ImapMailbox(scene.host.ip, *login):
        relay.operate(scene.host, "account", "quota", login[0], f"{QUOTA}B")
    with ImapMailbox(scene.host.ip, *login) as mailbox:
        earlier = [pgp.message_id() for _ in range(UNREAD)]
        for mid in earlier:
            head = f"From: <{FRIEND}>\r\nMessage-ID: <{mid}>\r\n\r\n"
            mailbox.put(head.encode() + b"x" * (QUOTA // 10), days=2)
        stranger = pgp.encrypted(STRANGER, login[0], pgp.message_id(), secrets.token_urlsafe(EACH))
        flood = signature.sign(stranger, "other.lab", scene.lab.paths)
        over, taken = threading.Event(), [0]

        def write() -> None:
            for _ in range(MOST):
                if over.is_set():
                    break
                taken[0] += smtp.deliver(scene.host.ip, STRANGER, [login[0]], flood).code == 250

        def friend() -> str:
            """Delivers a message; its Message-ID."""
            mid = pgp.message_id()
            message = signature.sign(pgp.encrypted(FRIEND, login[0], mid), "peer.lab", scene.lab.paths)
            answer = smtp.deliver(scene.host.ip, FRIEND, [login[0]], message)
            assert answer.code == 250, f"a friend was told {answer.line}"
            return mid

        writer = threading.Thread(target=write, daemon=True)
        writer.start()
        try:
            until("it overflows", lambda: taken[0] * len(flood) > QUOTA, 60)
            during = friend()
            yield f"{taken[0]} messages taken, each {len(flood) * 100 // QUOTA} % of the quota"
        finally:
            over.set()
            writer.join(60)
        for mid in (*earlier, during, friend()):
            until("a friend's message is there", lambda mid=mid: mailbox.find(mid), 20)  # type: ignore[misc]


ATTACKS = (Attack("a mailbox filled by a stranger", flooded),)
