"""The admin pages in this process: a store with peers, a queue in memory, and a record of the orders."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import falcon
import msgspec
from argon2 import PasswordHasher
from falcon.testing import Result, TestClient
from sqlalchemy import Engine

from chatmail_milter.config import Config, MailSettings, StoreSettings
from chatmail_milter.config.values import MailDomain
from chatmail_milter.ctl.postqueue import QueueEntry
from chatmail_milter.figures.waiting import QueueAwayError
from chatmail_milter.store.accounts import Accounts
from chatmail_milter.store.contacts import Contact
from chatmail_milter.store.endpoints import Endpoints
from chatmail_milter.store.engine import open_store
from chatmail_milter.store.fault import StoreError
from chatmail_milter.store.peers import Peers
from chatmail_milter.store.policies import Blocks, Federations
from chatmail_milter.store.routes import Route, Routes
from chatmail_milter.store.tokens import Tokens
from chatmail_milter.trace.steps import TracedStep
from chatmail_milter.trace.ways import TracedMessage, TracedRecipient
from mxdeliv_app.admin.app import create_app
from mxdeliv_app.admin.order_client import AwayError, Done
from mxdeliv_app.admin.pages import PAGES
from mxdeliv_app.admin.passwords import Role
from mxdeliv_app.admin.sessions import COOKIE, Sessions
from mxdeliv_app.admin.sources import Outside, Sources
from tests import stores

READ, ACT = "look at all of it", "and change it too"
# As cheap as argon2 can be.
_hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
HASHES: dict[Role, str] = {"read-only": _hasher.hash(READ), "privileged": _hasher.hash(ACT)}
HTML, JSON = {"Accept": "text/html"}, {"Accept": "application/json"}
# What a hostile peer says, and what is in the queue: HTML, a control character, one that turns text around.
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>\x1b[31m\u202e{{ 7 * 7 }}"
QUEUE_ID = "4jXjz71Ts6z7LNm"
# Of each page one.
PATHS = ["", *(path for path in PAGES if path and "{" not in path), "/peers/b.test", f"/queue/{QUEUE_ID}"]


def fill(store: Path) -> Engine:
    """A store with something of everything."""
    engine = open_store(stores.made(store))
    now = datetime.now(UTC)
    Peers(engine).add(
        [
            Contact("b.test", "https", True, 0.25, None, now),
            Contact("b.test", "https", False, None, "connect", now, words=HOSTILE),
            Contact("c.test", "smtp", True, 1.5, None, now - timedelta(hours=2)),
            Contact("b.test", "inbound", True, 0.1, None, now, door="mxdeliv"),
            Contact("", "submission", True, None, None, now),
            *[Contact("bad.test", "https", False, None, "tls", now)] * 3,
        ]
    )
    Endpoints(engine).failed("bad.test", "tls", now, None)
    Blocks(engine).add(["spam.test"], HOSTILE.replace("\x1b", ""))
    Federations(engine).add(["f.test"])
    Routes(engine).set(Route("c.test", "mx.c.test", "only"))
    Tokens(engine).create(3, 3600.0)
    for number in range(102):
        Accounts(engine).create(f"user{number:05}@a.test", "{PLAIN}secret-hash")
    return engine


def queued(queue_id: str = QUEUE_ID, domain: str = "b.test", queue: str = "deferred") -> QueueEntry:
    """A message that waits, of a hostile sender and for a hostile reason."""
    recipient = f"bob@{domain}"
    return QueueEntry(
        queue, queue_id, datetime.now(UTC), 4096, f"{HOSTILE}@x.test", (recipient,), (domain,), (HOSTILE,)
    )


def way() -> dict[str, Any]:
    """The way of a message that a hostile peer put off, as `chatmailctl trace --json` has it."""
    at = datetime.now(UTC)
    steps = [
        TracedStep(at, "postfix/cleanup", QUEUE_ID, "message-id", "Message-ID <1@a.test>"),
        TracedStep(at, "postfix/mxdeliv/lmtp", QUEUE_ID, "delivery", f"b.test put it off: {HOSTILE}"),
    ]
    recipient = TracedRecipient("bob@b.test", "waiting", "https", HOSTILE, "", at)
    found = asdict(TracedMessage("1@a.test", "user00001@a.test", (QUEUE_ID,), (recipient,), tuple(steps)))
    found |= {"outcome": "waiting", "waits": [QUEUE_ID], "advice": ["Ask the operator of b.test."]}
    return {**found, **json.loads(msgspec.json.encode(found))}


@dataclass
class AdminSite:
    """The admin application with fake sources, and a client with the cookie of its last login."""

    engine: Engine | None
    messages: list[QueueEntry] | None = field(default_factory=lambda: [queued()])
    done: Done | None = field(default_factory=lambda: Done(0, "It is done.\n", ""))
    orders: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    traced: list[dict[str, str]] = field(default_factory=list)
    # What the journal has of each message.
    trace: Done = field(default_factory=lambda: Done(0, json.dumps({"messages": [way()], "queue": []}), ""))
    # What doctor has found.
    findings: list[dict[str, str]] = field(default_factory=list)
    clock: float = 0.0
    url: str = "sqlite:////none/store"

    def __post_init__(self) -> None:
        config = Config(mail=MailSettings(domain=MailDomain("a.test")), store=StoreSettings(url=self.url))
        sources = Sources(config, Outside(self._store, self._queue, self._order))
        self.sessions = Sessions(lambda: self.clock)
        self.client = TestClient(create_app(sources, HASHES, self.sessions))
        self.cookie = ""

    def log_in(self, password: str = ACT, **headers: str) -> Result:
        result = self.post("/login", JSON | headers, password=password)
        if COOKIE in result.cookies:
            self.cookie = result.cookies[COOKIE].value
        return result

    def get(self, path: str = "", headers: dict[str, str] = HTML, **params: str) -> Result:
        return self.client.simulate_get(f"/admin{path}", params=params, headers=headers | self._cookie())

    def json(self, path: str = "", **params: str) -> Any:
        result = self.get(path, JSON, **params)
        assert result.status_code == 200, result.text
        return json.loads(result.text)

    def order(
        self, name: str, headers: dict[str, str] = JSON, csrf: str | None = None, **values: str
    ) -> Result:
        """Give an order, with the session's token unless `csrf` is another."""
        token = self.json("/session")["csrf"] if csrf is None else csrf
        return self.post(f"/orders/{name}", headers, csrf=token, **values)

    def post(self, path: str, headers: dict[str, str] = JSON, **form: str) -> Result:
        """A form, as a browser sends it."""
        sent = headers | self._cookie() | {"Content-Type": falcon.MEDIA_URLENCODED}
        return self.client.simulate_post(f"/admin{path}", headers=sent, body=urlencode(form))

    def _cookie(self) -> dict[str, str]:
        return {"Cookie": f"{COOKIE}={self.cookie}"} if self.cookie else {}

    def _store(self) -> Engine:
        if self.engine is None:
            raise StoreError(75, "start the database")
        return self.engine

    def _queue(self) -> list[QueueEntry]:
        if self.messages is None:
            raise QueueAwayError("check that Postfix is running")
        return self.messages

    def _order(self, name: str, values: dict[str, str]) -> Done:
        if self.done is None:
            raise AwayError("chatmail-orders does not answer")
        if name in ("doctor", "services"):
            return Done(0, json.dumps(self.findings), "")
        if name == "trace":
            self.traced.append(values)
            return self.trace
        self.orders.append((name, values))
        return self.done


class SeenPage(HTMLParser):
    """The elements of a page, and the words between them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data
