"""Policy and rate with nothing in them, and with as much as a large relay has: what a message pays more."""

from __future__ import annotations

import ipaddress
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from chatmail_milter.processes.ratelimit import Limiter, Rate
from chatmail_milter.rules.blocklist import Blocklist, entry
from chatmail_milter.rules.policy import OPEN, Policy
from chatmail_milter.store.engine import open_store
from chatmail_milter.store.policies import Blocks, Policies
from tests.bench.context import BenchContext
from tests.bench.rounds import timed
from tests.bench.table import RATIOS, BenchTable, TableRow, ratio

BLOCKED = 10_000
SENDERS = 100_000
TIMES = 5000  # messages a round
ROUNDS = 9
PEER = ipaddress.ip_address("203.0.113.77")
USER, STRANGER = "alice@a.example", "bob@mail.b.example"


def entries(count: int) -> list[str]:
    """As an operator's lists have them: a quarter each of addresses, domains, sub-domains and networks."""
    kinds = ("spam{0}@c{0}.example", "d{0}.example", ".e{0}.example", "10.{1}.{2}.0/24")
    return [entry(kinds[n % 4].format(n, n // 1024, n // 4 % 256)) for n in range(count)]


def measure(context: BenchContext) -> Sequence[BenchTable]:
    context.say(f"{BLOCKED} blocklist entries, {SENDERS} senders, {ROUNDS} rounds of {TIMES} messages")
    blocked = entries(BLOCKED)
    full = Policy(Blocklist.of(blocked), OPEN.federation, frozenset())
    limits = {"none": Limiter(Rate(60, 10)), "full": Limiter(Rate(60, 10))}
    for number in range(SENDERS):
        limits["full"].take(f"user{number}@a.example", 1000.0)
    with stored([]) as few, stored(blocked) as many:
        cases = {
            "submission": (lambda: submission(OPEN), lambda: submission(full)),
            "incoming": (lambda: incoming(OPEN), lambda: incoming(full)),
            "limiter": (lambda: limited(limits["none"]), lambda: limited(limits["full"])),
            "snapshot": (lambda: asked(few), lambda: asked(many)),
        }
        flat = {
            f"{name} {side}": one
            for name, pair in cases.items()
            for side, one in zip("ab", pair, strict=True)
        }
        times = timed(flat, ROUNDS, 1e6 / TIMES)
    rows: list[TableRow] = [
        ratio(title, times[f"{name} b"], times[f"{name} a"], "≈ 1", "µs of CPU")
        for name, title in (
            ("submission", f"submission, {BLOCKED} entries / none"),
            ("incoming", f"incoming mail: envelope and author, {BLOCKED} entries / none"),
            ("limiter", f"rate limit, {SENDERS} other senders / none"),
            ("snapshot", f"the snapshot asked for, {BLOCKED} entries / none"),
        )
    ]
    notes = f"CPU time a message, {ROUNDS} rounds by turns. A chat message costs Postfix about 2000 µs."
    return (BenchTable("Policy and rate limit", RATIOS, rows, notes),)


def submission(policy: Policy) -> None:
    for _ in range(TIMES):
        policy.submission(USER, PEER)


def incoming(policy: Policy) -> None:
    for _ in range(TIMES):
        policy.incoming(STRANGER, PEER)
        policy.author(STRANGER)


def limited(limiter: Limiter) -> None:
    # A user who writes once a second, which the limit allows.
    for number in range(TIMES):
        limiter.take(USER, 1001.0 + number)


def asked(policies: Policies) -> None:
    for _ in range(TIMES):
        policies.current()


@contextmanager
def stored(blocked: Sequence[str]) -> Iterator[Policies]:
    """Policies over a store of its own with these entries."""
    with tempfile.TemporaryDirectory() as directory:
        engine = open_store(f"sqlite:///{Path(directory) / 'store.sqlite'}")
        if blocked:
            Blocks(engine).add(blocked)
        policies = Policies(engine)
        policies.current()
        yield policies
        engine.dispose()
