"""Users: each logs in on 465 and sends, and those they write to idle meanwhile, if they are to.

`python -m tests.bench.mail.users` reads a `BenchOrder` as JSON from its input and prints a `Report` as JSON.
A sender is a process, so that clients take little of the machine that is measured; readers share a thread.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import sys
import time
from collections.abc import Mapping, Sequence
from multiprocessing.synchronize import Barrier, Semaphore
from pathlib import Path
from typing import Any

import msgspec

from tests.bench.mail.idlers import HungUpError, Idler, gather
from tests.bench.mail.sessions import SessionRefusedError
from tests.bench.mail.submission import Login, Stages, Submission
from tests.lab.errors import LabError

NOTICE, TOTAL = "250 to EXISTS", "MAIL to EXISTS"

_LATE = 60.0  # seconds for the next notice
_END = 300.0  # seconds for all senders to have sent


class BenchOrder(msgspec.Struct):
    """`sessions`: for each sender the logins of its sessions, in order; `readers`: whom each sender writes
    to.

    `idle`: seconds that the readers idle before the first message; 0: they are not connected. `apart`: a
    message is sent when the reader of the one before has been told.
    """

    smtp: tuple[str, int]
    imap: tuple[str, int]
    sessions: list[list[Login]]
    readers: list[Login]
    messages: int  # in each session
    file: str  # the message; its sender is SENDER@bench.lab
    idle: float = 0
    apart: bool = False

    def count(self, sender: int) -> int:
        """How many messages it sends."""
        return len(self.sessions[sender]) * self.messages


class Report(msgspec.Struct):
    """`seconds` from the first connection to the last 250; `stages` in milliseconds, as they came; CPU
    seconds."""

    seconds: float
    cpu: float
    stages: Stages
    trouble: list[str]


class SentByUser(msgspec.Struct):
    """What one sender saw. `messages`: when MAIL was said, and when the 250 came."""

    began: float
    cpu: float
    stages: Stages
    messages: list[tuple[float, float]]
    trouble: str = ""


def work(order: BenchOrder, sender: int, turns: Semaphore | None, ready: Barrier, results: Any) -> None:
    """One sender, from when all are ready."""
    text = Path(order.file).read_bytes()
    reader = order.readers[sender][0]
    ready.wait()
    cpu = time.process_time()
    seen = SentByUser(time.monotonic(), 0, {}, [])
    try:
        for login in order.sessions[sender]:
            session = Submission(order.smtp, login, seen.stages)
            letter = text.replace(b"SENDER@bench.lab", login[0].encode())
            for _ in range(order.messages):
                if turns is not None:
                    turns.acquire()
                seen.messages.append(session.send(login[0], reader, letter))
            session.close()
    except (SessionRefusedError, OSError) as error:
        seen.trouble = f"{type(error).__name__}: {error}"
    seen.cpu = time.process_time() - cpu
    results.put((sender, seen))


async def watch(client: Idler, told: list[float], count: int, turn: asyncio.Event) -> None:
    """Note when the reader is told of each of so many messages; a notice may tell of several."""
    before = client.exists
    while len(told) < count:
        now = await client.told()
        told.extend([now] * (client.exists - before - len(told)))
        turn.set()


async def observe(order: BenchOrder, turns: Sequence[Semaphore], ready: Barrier) -> list[list[float]]:
    """When each reader was told of each message."""
    if not order.idle:
        await asyncio.to_thread(ready.wait)
        return []
    crowd = await gather(order.imap[0], order.readers, order.imap[1])
    if crowd.trouble:
        raise LabError(f"look at IMAP: a reader met {crowd.trouble[0]}")
    since = max(client.since for client in crowd.clients)
    await asyncio.sleep(since + order.idle - time.monotonic())
    told: list[list[float]] = [[] for _ in crowd.clients]
    turn = asyncio.Event()
    watching = [
        asyncio.create_task(watch(client, times, order.count(number), turn))
        for number, (client, times) in enumerate(zip(crowd.clients, told, strict=True))
    ]
    await asyncio.to_thread(ready.wait)
    for number, one in enumerate(turns):
        for _ in range(order.count(number)):
            turn.clear()
            one.release()
            async with asyncio.timeout(_LATE):
                await turn.wait()
    await asyncio.gather(*watching)
    crowd.keep(0)
    return told


def run(order: BenchOrder) -> Report:
    """Do as ordered."""
    context = multiprocessing.get_context("fork")
    ready = context.Barrier(len(order.sessions) + 1)
    results = context.Queue()
    turns = [context.Semaphore(0) for _ in order.sessions] if order.apart else []
    senders = [
        context.Process(
            target=work, args=(order, sender, turns[sender] if turns else None, ready, results), daemon=True
        )
        for sender in range(len(order.sessions))
    ]
    for each in senders:
        each.start()
    cpu = time.process_time()
    try:
        told = asyncio.run(observe(order, turns, ready))
    except (HungUpError, LabError, TimeoutError, OSError) as error:
        return Report(0, 0, {}, [f"{type(error).__name__}: {error}"])
    seen: Mapping[int, SentByUser] = dict(results.get(timeout=_END) for _ in senders)
    return reported([seen[sender] for sender in sorted(seen)], told, time.process_time() - cpu)


def reported(seen: Sequence[SentByUser], told: Sequence[Sequence[float]], cpu: float) -> Report:
    """What all saw together; `cpu` is the readers'."""
    if trouble := [one.trouble for one in seen if one.trouble]:
        return Report(0, cpu, {}, trouble)
    stages: Stages = {}
    for one in seen:
        for stage, times in one.stages.items():
            stages.setdefault(stage, []).extend(times)
    # Whether a message overtook another of the same sender can't be seen, and changes no sum.
    for one, notices in zip(seen, told, strict=False):
        for (mail, queued), notice in zip(one.messages, notices, strict=True):
            stages.setdefault(NOTICE, []).append((notice - queued) * 1e3)
            stages.setdefault(TOTAL, []).append((notice - mail) * 1e3)
    return Report(
        seconds=max(one.messages[-1][1] for one in seen) - min(one.began for one in seen),
        cpu=cpu + sum(one.cpu for one in seen),
        stages=stages,
        trouble=[],
    )


if __name__ == "__main__":
    print(msgspec.json.encode(run(msgspec.json.decode(sys.stdin.buffer.read(), type=BenchOrder))).decode())
