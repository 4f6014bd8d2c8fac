"""The admin pages of a large relay: how long the overview, the list of peers and the queue take.

A stand-in for `postqueue` has the queue; all else is as it is installed. What a page shows is at most five
seconds old (docs/admin-page.md): the first request after that begins a new look, and is measured by itself.
"""

from __future__ import annotations

import http.client
import json
import os
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from urllib.parse import urlencode

from argon2 import PasswordHasher
from sqlalchemy import Engine

from chatmail_milter.store import traffic
from chatmail_milter.store.contacts import Contact
from chatmail_milter.store.engine import open_store
from chatmail_milter.store.peers import UNPROVEN, Peers
from chatmail_milter.store.tables import accounts
from mxdeliv_app.admin.passwords import Role
from mxdeliv_app.admin.sessions import COOKIE
from tests.bench.context import BenchContext
from tests.bench.table import RATIOS, BenchTable, Measured, figure
from tests.blackbox.admin.served import served
from tests.chat.deadline import until
from tests.chat.smtp import any_certificate

PEERS, QUEUED, ACCOUNTS = 1000, 10_000, 100_000
DAYS = 30  # of traffic: an hour a day of each peer, and each hour of the last day
ROUNDS = 5
FRESH = 5.0  # seconds
PASSWORD = "look at all of it"
PAGES = {
    "overview": "/admin",
    "peers": "/admin/peers",
    "peers that fail": "/admin/peers?filter=failing",
    "queue": "/admin/queue",
}


def measure(context: BenchContext) -> Sequence[BenchTable]:
    context.say(f"a store with {PEERS} peers and {ACCOUNTS} accounts, {QUEUED} messages in the queue")
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        fill(place / "store.sqlite")
        environment = os.environ | {"PATH": f"{queue(place)}:{os.environ['PATH']}"}
        hashes: dict[Role, str] = {"read-only": PasswordHasher(1, 8, 1).hash(PASSWORD)}
        with served(place, hashes, environment) as port:
            client = AdminBrowser(port)
            until("all was looked at", client.has_all, 120, every=0.5)
            context.say(f"{ROUNDS} rounds of {len(PAGES)} pages")
            fresh: dict[str, list[float]] = {name: [] for name in PAGES}
            stale: dict[str, list[float]] = {name: [] for name in PAGES}
            for _ in range(ROUNDS):
                for name, path in PAGES.items():
                    time.sleep(FRESH + 1)
                    asked = datetime.now(UTC)
                    stale[name].append(client.page(path))
                    until("it shows the new look", partial(client.is_since, path, asked), 60)
                    fresh[name].append(client.page(path))
    rows = []
    for name in PAGES:
        for kind, times in (("", fresh), (", a new look began", stale)):
            rows.append(figure(f"{name}{kind}", Measured.of(times[name]), "≤ 200", "ms"))
            rows.append(figure(f"{name}{kind}: the longest", max(times[name]), "≤ 200", "ms"))
    return (BenchTable("Admin pages", RATIOS, rows, "Whole answers, from this machine, HTML."),)


class AdminBrowser:
    """A browser that has logged in. A connection for each request, as nginx makes them."""

    def __init__(self, port: int) -> None:
        self._port = port
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        answer, _, _ = self._ask("POST", "/admin/login", urlencode({"password": PASSWORD}), form)
        cookie = answer.getheader("Set-Cookie") or ""
        assert cookie.startswith(COOKIE), answer.status
        self._cookie = {"Cookie": cookie.partition(";")[0]}

    def page(self, path: str) -> float:
        """Milliseconds until the whole page is there."""
        answer, _, took = self._ask("GET", path, None, {"Accept": "text/html"} | self._cookie)
        assert answer.status == 200
        return took * 1000

    def is_since(self, path: str, then: datetime) -> bool:
        """Whether a page shows what was looked at after `then`."""
        _, body, _ = self._ask("GET", path, None, self._cookie)
        return datetime.fromisoformat(json.loads(body)["at"]) >= then

    def has_all(self) -> bool:
        """Whether the figures are there and fresh."""
        _, body, _ = self._ask("GET", "/admin", None, self._cookie)
        found = json.loads(body)
        assert found["accounts"]["number"] == ACCOUNTS
        _, body, _ = self._ask("GET", "/admin/peers", None, self._cookie)
        peers = json.loads(body)
        assert peers["rows"] >= PEERS
        return found["queue"] is not None and found["queue"]["messages"] == QUEUED

    def _ask(
        self, method: str, path: str, body: str | None, headers: dict[str, str]
    ) -> tuple[http.client.HTTPResponse, bytes, float]:
        """Answer, its body, and the seconds that both took."""
        client = http.client.HTTPSConnection("localhost", self._port, timeout=120, context=any_certificate())
        with closing(client):
            client.connect()
            began = time.perf_counter()
            client.request(method, path, body, headers)
            answer = client.getresponse()
            return answer, answer.read(), time.perf_counter() - began


def fill(file: Path) -> Engine:
    """A store as a large relay has it."""
    engine = open_store(f"sqlite:///{file}")
    now = datetime.now(UTC)
    today = now.date()
    rows = [
        {
            "address": f"user{number:06}@a.test",
            "password_hash": "{PLAIN}x",
            "created": today - timedelta(days=number % 90),
            "last_login": today - timedelta(days=number % 40),
        }
        for number in range(ACCOUNTS)
    ]
    with engine.begin() as connection:
        connection.execute(accounts.insert(), rows)
    Peers(engine).add(contacts(now))
    with engine.begin() as connection:
        for ago in [timedelta(hours=one) for one in range(1, 24)] + [
            timedelta(days=one) for one in range(1, DAYS)
        ]:
            traffic.write(connection, contacts(now - ago), UNPROVEN)
    engine.dispose()
    return engine


def contacts(at: datetime) -> list[Contact]:
    """One to each peer and one from it, and one of a user; one peer in ten can't be reached."""
    found = [Contact("", "submission", True, None, None, at)]
    for number in range(PEERS):
        domain = f"peer{number:04}.example"
        found.append(Contact(domain, "inbound", True, 0.1 + number / 1e4, None, at, door="mxdeliv"))
        if number % 10:
            found.append(Contact(domain, "https", True, 0.2 + number / 1e3, None, at))
        else:
            found.append(Contact(domain, "https", False, None, "connect", at, words="Connection refused"))
    return found


def queue(place: Path) -> Path:
    """A directory with a `postqueue` that has `QUEUED` messages for all peers."""
    now = int(time.time())
    reason = "connect to {0}[192.0.2.1]:25: Connection timed out"
    with (place / "queue.json").open("w") as file:
        for number in range(QUEUED):
            domain = f"peer{number % PEERS:04}.example"
            recipient = {"address": f"user{number}@{domain}", "delay_reason": reason.format(domain)}
            one = {
                "queue_name": "deferred", "queue_id": f"4jX{number:012}", "arrival_time": now - number,
                "message_size": 4096, "forced_expire": False, "sender": f"user{number:06}@a.test",
                "recipients": [recipient],
            }  # fmt: skip
            file.write(json.dumps(one) + "\n")
    programs = place / "bin"
    programs.mkdir()
    (programs / "postqueue").write_text(f"#!/bin/sh\nexec cat {place}/queue.json\n")
    (programs / "postqueue").chmod(0o755)
    return programs
