"""A thousand logins in the same instant: how long those wait who have an account, and those who get one.

All connections are there, TLS and all, before the first of them logs in, as after a restart of a relay. Each
leaves when it is in. Meanwhile chatmail-hooks is asked for one account again and again.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import subprocess
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from chatmail_milter.accounts.credentials import hash_password
from tests.bench.context import BenchContext
from tests.bench.mail import units
from tests.bench.mail.units import Units
from tests.bench.rounds import interleaved
from tests.bench.table import BenchTable, Column, Measured, TableRow
from tests.chat import relay
from tests.chat.deadline import until
from tests.chat.person import fresh_password
from tests.chat.smtp import any_certificate
from tests.lab import LabError
from tests.lab.host import LabHost
from tests.lab.plan import PROGRAMS

LOGINS, ROUNDS = 1000, 3
PATIENCE = 120.0  # seconds for an answer
_HANDSHAKES = 50  # at once

QUIET, OLD, HALF = "one after the other", f"{LOGINS} at once", f"{LOGINS} at once, half of them new"

COLUMNS = (
    Column("median ms", 0, spread=True),
    Column("p95 ms", 0, spread=True),
    Column("last ms", 0, spread=True),
    Column("new: median", 0),
    Column("last", 0),
    Column("hooks: median ms", 1),
    Column("p95", 1),
    Column("failed", 0),
    Column("Dovecot CPU s", 1),
    Column("hooks CPU s", 1),
)
NOTES = f"""\
From AUTHENTICATE to the answer, IMAP over TLS that is there already; {ROUNDS} rounds by turns. The first
columns are of those who have an account, `new` of those whose first login it is. `hooks`: one look-up after
the other, asked on the host as Dovecot's Lua does. The clients run on the same processors."""


@dataclass(frozen=True)
class Storm:
    """What one round was like; milliseconds, sorted."""

    old: Sequence[float]
    new: Sequence[float]
    lookups: Sequence[float]
    failed: int
    dovecot: float  # CPU seconds
    hooks: float


def measure(context: BenchContext) -> Sequence[BenchTable]:
    host = context.lab.host("b")
    services = Units(host, (units.DOVECOT, units.HOOKS))
    with people(host) as (known, password):
        context.say(f"{ROUNDS} rounds of {LOGINS} logins")
        cases = {
            QUIET: partial(weathered, host, services, known[:50], password, at_once=False),
            OLD: partial(weathered, host, services, known, password),
            HALF: partial(weathered, host, services, known[::2], password, new=LOGINS // 2),
        }
        seen = interleaved(cases, ROUNDS)
    return (
        BenchTable("A storm of logins", COLUMNS, [row(name, many) for name, many in seen.items()], NOTES),
    )


@contextmanager
def people(host: LabHost) -> Iterator[tuple[list[str], str]]:
    """Accounts with one password; what the storms made goes with them."""
    password = fresh_password()
    known = [_someone(host) for _ in range(LOGINS)]
    made = {"password_hash": hash_password(password), "created": datetime.now(UTC).date().isoformat()}
    relay.operate(
        host, "account", "import", "-", input="\n".join(json.dumps({"address": one, **made}) for one in known)
    )
    try:
        yield known, password
    finally:
        host.run([PYTHON, "-c", FORGET], timeout=300)


def weathered(
    host: LabHost,
    services: Units,
    known: Sequence[str],
    password: str,
    *,
    new: int = 0,
    at_once: bool = True,
) -> Storm:
    """One storm, by turns of those who have an account and `new` others."""
    until("all have left", partial(_all_left, host), 60, every=0.5)
    users = list(known)
    for place in range(new):
        users.insert(2 * place, _someone(host))
    spent = services.cpu()
    with lookups(host, known[0]) as asked:
        waits = asyncio.run(logins(host.ip, users, password, at_once=at_once))
    cost = services.since(spent)
    by_user = dict(zip(users, waits, strict=True))
    old = sorted(wait for user, wait in by_user.items() if wait is not None and user in set(known))
    others = sorted(wait for user, wait in by_user.items() if wait is not None and user not in set(known))
    failed = sum(wait is None for wait in waits)
    return Storm(old, others, asked, failed, cost[units.DOVECOT], cost[units.HOOKS])


async def logins(ip: str, users: Sequence[str], password: str, *, at_once: bool) -> list[float | None]:
    """Milliseconds that each waited to be let in; None for who was not."""
    doors = asyncio.Semaphore(_HANDSHAKES if at_once else 1)
    here = asyncio.Barrier(len(users)) if at_once else None

    async def login(user: str) -> float | None:
        async with doors:
            reader, writer = await asyncio.open_connection(ip, 993, ssl=any_certificate())
            await reader.readline()
            if here is None:
                return await _let_in(reader, writer, user, password)
        await here.wait()
        return await _let_in(reader, writer, user, password)

    return await asyncio.gather(*map(login, users))


async def _let_in(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, user: str, password: str
) -> float | None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    writer.write(b"a AUTHENTICATE PLAIN " + b64encode(f"\0{user}\0{password}".encode()) + b"\r\n")
    try:
        async with asyncio.timeout(PATIENCE):
            while not (line := await reader.readline()).startswith(b"a ") and line:
                pass
    except (TimeoutError, OSError):
        line = b""
    waited = (loop.time() - began) * 1e3
    writer.close()
    return waited if line.startswith(b"a OK") else None


@contextmanager
def lookups(host: LabHost, user: str) -> Iterator[list[float]]:
    """Ask the hooks for `user` again and again; how long each look-up took, in the list at the end."""
    asked: list[float] = []
    words = host.words([PYTHON, "-c", ASK, user])
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as asking:
        assert asking.stdout is not None
        if asking.stdout.readline() != "ready\n":
            raise LabError("ask the hooks by hand: they did not answer on _b.lab")
        yield asked
        # The end of its input tells it that it was enough.
        said, _ = asking.communicate(timeout=30)
    asked += sorted(json.loads(said))


def row(name: str, storms: Sequence[Storm]) -> TableRow:
    def of(kind: str, part: float) -> Measured | None:
        every = [getattr(one, kind) for one in storms]
        return Measured.of(one[int((len(one) - 1) * part)] for one in every) if all(every) else None

    return TableRow(
        name,
        (
            *(of("old", part) for part in (0.5, 0.95, 1)),
            *(of("new", part) for part in (0.5, 1)),
            *(of("lookups", part) for part in (0.5, 0.95)),
            *(Measured.of(getattr(one, what) for one in storms) for what in ("failed", "dovecot", "hooks")),
        ),
    )


def _someone(host: LabHost) -> str:
    return f"storm{secrets.token_hex(6)}@{host.domain}"


def _all_left(host: LabHost) -> bool:
    return "storm" not in host.run(["doveadm", "who", "-1"]).stdout


PYTHON = f"{PROGRAMS}/python3"

ASK = """
import http.client, json, select, sys, time
from chatmail_milter import config
from mxdeliv_app.dovecot.hooks.app import SECRET_HEADER, SECRET_PATH, read_secret

host, port = config.load().listen.hooks.pair
connection = http.client.HTTPConnection(host, port)
head = {"Content-Type": "application/json", SECRET_HEADER: read_secret(SECRET_PATH)}
body = json.dumps({"user": sys.argv[1], "ip": ""})

def ask():
    began = time.monotonic()
    connection.request("POST", "/dovecot/lookup", body, head)
    answer = connection.getresponse()
    answer.read()
    assert answer.status == 200, answer.status
    return (time.monotonic() - began) * 1e3

ask()
print("ready", flush=True)
waits = []
while not select.select([sys.stdin], [], [], 0.02)[0]:
    waits.append(ask())
print(json.dumps(waits))
"""

# As `chatmailctl account delete` would, one by one, in minutes.
FORGET = """
from pathlib import Path
from chatmail_milter import config
from chatmail_milter.mailboxes.home import MailRemoval, home
from chatmail_milter.store.accounts import Accounts
from chatmail_milter.store.engine import open_store
from chatmail_milter.store.reserved_names import ReservedNames

settings = config.load()
root = Path(settings.store.mail)
accounts = Accounts(open_store(settings.store.url), names=ReservedNames(0))
removal = MailRemoval(root)
for one in accounts.list():
    if one.address.startswith("storm"):
        removal.put_away(home(root, one.address))
        accounts.delete(one.address)
removal.finish()
"""
