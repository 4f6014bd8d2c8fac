"""Joining three relays beside joining one, and messages to and from a profile on several, with a dead one.

With Delta Chat's cores. A core joins one relay after the other: it refuses to begin with a second one before.
The lab has two relays, so that two of the three accounts are on one.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median

from tests.bench.context import BenchContext
from tests.bench.rounds import interleaved
from tests.bench.table import BenchTable, Cell, Column, Measured, TableRow
from tests.chat import dead_relay
from tests.chat.core import Core
from tests.chat.person import Person, fresh_address, fresh_password
from tests.chat.stage import Stage

ROUNDS, MESSAGES = 5, 10
SECONDS = 60.0
A, B = "_a.lab", "_b.lab"

ONE, THREE, INVITED = "one relay", "three relays", "one, invited by who has a dead one"
ALONE, TWO, DEAD = "one relay", "two relays", "two, and a dead one"

JOINED = (
    Column("ms", 0, spread=True),
    Column("of one relay", 2, spread=True),
    Column("more than one relay, ms", 0, spread=True),
    Column("asked for"),
)
JOINED_NOTES = f"""\
From the order to join, in a new profile, until the core has logged in by IMAP and SMTP at the last relay and
is idle; {ROUNDS} rounds by turns, the median, and in brackets the lowest and the highest round. Invited: the
core chooses the relay that answers first, of three, one of them dead."""

SAID = (
    Column("to it: median ms", 0, spread=True),
    Column("of one relay", 2, spread=True),
    Column("from it: median ms", 0, spread=True),
    Column("of one", 2, spread=True),
)
SAID_NOTES = f"""\
From the order to send until the other core shows the text, to and from a profile on so many relays; the other
profile is on {B} alone. {ROUNDS} rounds by turns, of {MESSAGES} messages to it and as many from it: of a
round the median, and in brackets the lowest and the highest round."""


@dataclass(frozen=True)
class Pair:
    """Someone on several relays, someone on one, and the chat of each with the other."""

    many: Person
    single: Person
    chats: tuple[int, int]


@dataclass(frozen=True)
class Round:
    """Medians in milliseconds."""

    to: float
    back: float


def measure(context: BenchContext) -> Sequence[BenchTable]:
    lab = context.lab
    with Core(lab.netns("client")) as core:
        stage = Stage(lab, core)
        pairs = {name: pair(stage, name) for name in (ALONE, TWO, DEAD)}
        context.say(f"{ROUNDS} new profiles in each of three ways")
        ways = {
            ONE: partial(joining, core, 1),
            THREE: partial(joining, core, 3),
            INVITED: partial(invited, core, pairs[DEAD].many),
        }
        joined = interleaved(ways, ROUNDS)
        context.say(f"{ROUNDS} rounds of {MESSAGES} messages to and from three profiles")
        said = interleaved({name: partial(talk, one) for name, one in pairs.items()}, ROUNDS)
    return joined_table(joined), said_table(said)


def pair(stage: Stage, name: str) -> Pair:
    """The one on several relays is on those that the name says."""
    many, single = stage.newcomer(A), stage.newcomer(B)
    if name != ALONE:
        many.join_relay(B)
    if name == DEAD:
        dead_relay.join(stage.lab, many)
    chat = single.join(many, SECONDS)
    return Pair(many, single, (many.chat_with(single), chat))


def joining(core: Core, relays: int) -> float:
    """Milliseconds in which someone new joins so many."""
    person = Person(core, fresh_address(A), fresh_password())
    began = time.monotonic()
    person.log_in()
    for domain in (B, A)[: relays - 1]:
        person.join_relay(domain)
    core.rpc.wait_for_all_work_done(person.account)
    return _gone(core, person, began)


def invited(core: Core, inviter: Person) -> float:
    """Milliseconds in which someone new joins one of the inviter's."""
    person, began = Person(core, "", ""), time.monotonic()
    person.onboard(inviter)
    core.rpc.wait_for_all_work_done(person.account)
    return _gone(core, person, began)


def _gone(core: Core, person: Person, began: float) -> float:
    """Milliseconds until now; then the profile goes, so that it costs the others nothing."""
    took = (time.monotonic() - began) * 1e3
    core.rpc.remove_account(person.account)
    return took


def talk(pair: Pair) -> Round:
    """A round of messages, one after the other."""
    here, there = pair.chats
    to = [said(pair.single, there, pair.many) for _ in range(MESSAGES)]
    back = [said(pair.many, here, pair.single) for _ in range(MESSAGES)]
    return Round(median(to), median(back))


def said(sender: Person, chat: int, reader: Person) -> float:
    """Milliseconds of one message."""
    text, mark = secrets.token_hex(8), reader.events.mark()
    sent = sender.send(chat, text)
    found = reader.received_text(text, mark, SECONDS)
    return (found.at - sent.at) * 1e3


def joined_table(joined: Mapping[str, Sequence[float]]) -> BenchTable:
    times = {name: Measured.of(rounds) for name, rounds in joined.items()}
    one = times[ONE]
    more = {
        name: Measured.of(this - other for this, other in zip(each.rounds, one.rounds, strict=True))
        for name, each in times.items()
    }
    rows = []
    for name, each in times.items():
        beside: tuple[Cell, Cell] = (None, None) if name == ONE else (each.over(one), more[name])
        rows.append(TableRow(name, (each, *beside, "less than 2000 more" if name == THREE else None)))
    return BenchTable("Joining, Delta Chat's core", JOINED, rows, JOINED_NOTES)


def said_table(said: Mapping[str, Sequence[Round]]) -> BenchTable:
    rows = []
    to, back = (
        {name: Measured.of(getattr(one, way) for one in rounds) for name, rounds in said.items()}
        for way in ("to", "back")
    )
    for name in said:
        beside = (None, None) if name == ALONE else (to[name].over(to[ALONE]), back[name].over(back[ALONE]))
        rows.append(TableRow(name, (to[name], beside[0], back[name], beside[1])))
    return BenchTable("Messages to and from a profile on several relays", SAID, rows, SAID_NOTES)
