"""A day of a relay with a few hundred accounts, for the pictures in the README."""

from __future__ import annotations

import json
import math
import random
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import msgspec

from chatmail_milter.store.accounts import Accounts
from chatmail_milter.store.contacts import Contact
from chatmail_milter.store.engine import open_store
from chatmail_milter.store.peers import Peers
from chatmail_milter.trace.steps import TracedStep
from chatmail_milter.trace.ways import TracedMessage, TracedRecipient
from tests import stores

DOMAIN = "chat.example.org"
QUEUE_IDS = ("4jXjz71Ts6z7LNm", "4jXk0q2Vb1z7LNp")
# Domain, road, messages an hour each way at noon, seconds of a delivery.
_PEERS: tuple[tuple[str, Literal["https", "smtp"], int, float], ...] = (
    ("nine.example", "https", 40, 0.18), ("chat.example.net", "https", 25, 0.24),
    ("relay.example.com", "https", 18, 0.31), ("mail.example.com", "smtp", 9, 1.4),
    ("tarragon.example", "https", 7, 0.22), ("old-mta.example", "smtp", 4, 2.6),
)  # fmt: skip
_REFUSED = "connect to gone.example[192.0.2.9]:25: Connection refused"
_UNITS = (
    "chatmail-milter.service", "mxdeliv-app.service", "mxdeliv-relay.service", "chatmail-hooks.service",
    "postfix@-.service", "dovecot.service", "nginx.service", "opendkim.service", "unbound.service",
)  # fmt: skip


def fill(store: Path) -> None:
    """Fills a new store with a day that ends now."""
    chance, now = random.Random(7), datetime.now(UTC)  # noqa: S311  (the same day each time)
    engine = open_store(stores.made(store))
    for ago in reversed(range(24)):
        at = now - timedelta(hours=ago)
        busy = 0.35 + 0.65 * math.sin(math.pi * ((at.hour - 5) % 24) / 24) ** 2
        rows = []
        for domain, road, most, seconds in _PEERS:
            door: Literal["mxdeliv", "smtp"] = "mxdeliv" if road == "https" else "smtp"
            for _ in range(round(most * busy * chance.uniform(0.7, 1.3))):
                rows.append(Contact(domain, road, True, seconds * chance.uniform(0.7, 1.8), None, at))
                rows.append(Contact("", "submission", True, None, None, at))
            for _ in range(round(0.8 * most * busy * chance.uniform(0.7, 1.3))):
                taken = 0.08 * chance.uniform(0.7, 1.8)
                rows.append(Contact(domain, "inbound", True, taken, None, at, door=door))
        for _ in range(round(2 * busy)):
            rows.append(Contact("gone.example", "smtp", False, None, "connect", at, words=_REFUSED))
        Peers(engine).add(rows)
    for number in range(312):
        Accounts(engine).create(f"user{number:05}@{DOMAIN}", "{PLAIN}x")
    engine.dispose()


def answered(connection: socket.socket) -> None:
    """What `chatmail-orders` says there: two messages wait, one thing is to be done."""
    with connection.makefile("rb") as asked, connection.makefile("wb") as to:
        order = json.loads(asked.readline())["order"]
        found = {"queue": _queue, "doctor": _doctor, "services": _services, "trace": _trace}[order]()
        to.write(json.dumps({"status": 0, "out": json.dumps(found), "err": ""}).encode() + b"\n")


def _queue() -> list[dict[str, object]]:
    arrived = datetime.now(UTC) - timedelta(minutes=44)
    common = {
        "queue": "deferred",
        "arrived": arrived.isoformat(),
        "size": 18432,
        "sender": f"user00007@{DOMAIN}",
    }
    to = {"recipients": ["bob@gone.example"], "domains": ["gone.example"], "reasons": [_REFUSED]}
    return [{"queue_id": one, **common, **to} for one in QUEUE_IDS]


def _trace() -> dict[str, object]:
    """The way of the first of them."""
    came = datetime.now(UTC) - timedelta(minutes=44)
    texts = (
        (0.0, "postfix/submission/smtpd", "door", "came by submission, ports 465 and 587"),
        (0.02, "chatmail-milter", "verdict", "passed: encrypted"),
        (0.4, "postfix/smtp-mx/smtp", "delivery", f"to bob@gone.example by SMTP: deferred: {_REFUSED}"),
    )
    steps = [
        TracedStep(came + timedelta(seconds=after), program, QUEUE_IDS[0], kind, text)
        for after, program, kind, text in texts
    ]
    recipient = TracedRecipient("bob@gone.example", "waiting", "smtp", _REFUSED, "", steps[-1].at)
    sender = f"user00007@{DOMAIN}"
    found = TracedMessage("1@client.invalid", sender, (QUEUE_IDS[0],), (recipient,), tuple(steps))
    known: dict[str, object] = msgspec.to_builtins(found)
    further = {"outcome": "waiting", "waits": [QUEUE_IDS[0]], "advice": ["Ask the operator of gone.example."]}
    return {"messages": [{**known, **further}], "queue": []}


def _doctor() -> list[dict[str, str]]:
    good = [{"subject": "ports", "what": f"{one}", "state": "good", "found": "is open"} for one in range(57)]
    soon = {
        "subject": "dns", "what": f"TXT _dmarc.{DOMAIN}", "state": "soon", "found": "is not published",
        "why": "servers that go by DMARC put mail of this domain in doubt",
        "mend": f'_dmarc.{DOMAIN}. 3600 IN TXT "v=DMARC1; p=reject; adkim=s; aspf=s"',
    }  # fmt: skip
    return [soon, *good]


def _services() -> list[dict[str, str]]:
    return [{"subject": "services", "what": one, "state": "good", "found": "is running"} for one in _UNITS]
