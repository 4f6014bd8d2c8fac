"""The load: so many senders at once, each a process with one connection after the other, or a single one.

`python -m tests.bench.mail.senders PLACE FILE SENDERS MESSAGES` sends the message in FILE so often in all, as
peers do it (`sessions`). Where the message says `SENDER`, every one has an address of its own. With `--kept`
each sender opens its connection beforehand, and sends all over that. Prints what it saw as JSON.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import multiprocessing
import resource
import sys
import time
from dataclasses import dataclass
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

from tests.bench.mail.sessions import BenchSession, Place, SessionRefusedError, opened

RECIPIENT = "reader@elsewhere.lab"
FIRST_OF_THIS_RUN = int(time.time()) % 1_000_000


@dataclass(frozen=True)
class BenchMessage:
    """What is sent. `author` is empty where every message gets a sender of its own."""

    text: bytes
    author: str

    @classmethod
    def read(cls, file: Path) -> BenchMessage:
        text = file.read_bytes()
        if b"SENDER" in text:
            return cls(text, "")
        header = text.partition(b"\r\n\r\n")[0]
        author = next(line for line in header.split(b"\r\n") if line.lower().startswith(b"from:"))
        return cls(text, author.partition(b"<")[2].partition(b">")[0].decode())

    def numbered(self, number: int) -> tuple[str, bytes]:
        """Sender and text of the message with that number."""
        if self.author:
            return self.author, self.text
        name = f"u{FIRST_OF_THIS_RUN}.{number}"
        return f"{name}@bench.lab", self.text.replace(b"SENDER@", f"{name}@".encode())


@dataclass(frozen=True)
class SeenBySender:
    """What one sender saw: when it began and ended, its CPU seconds, the seconds of each message, trouble."""

    began: float
    ended: float
    cpu: float
    times: list[float]
    trouble: str


@dataclass(frozen=True)
class Task:
    """What all senders do. `per_session`: messages a connection, 0 for one connection opened beforehand."""

    place: Place
    message: BenchMessage
    recipient: str
    per_session: int


def work(task: Task, left: Synchronized[int], gate: Any, results: Any) -> None:
    """One sender: takes numbers until there are none."""
    times: list[float] = []
    session: BenchSession | None = None
    trouble = ""
    try:
        if not task.per_session:
            session = opened(task.place)
    except (SessionRefusedError, OSError) as error:
        trouble = f"{type(error).__name__}: {error}"
    gate.wait()
    began, started_cpu = time.monotonic(), time.process_time()
    try:
        sent = 0
        while not trouble and (number := taken(left)) >= 0:
            start = time.monotonic()
            if session is None:
                session, sent = opened(task.place), 0
            sent += 1
            sender, text = task.message.numbered(number)
            session.send(sender, task.recipient, text, last=sent == task.per_session)
            if sent == task.per_session:
                session = None
            times.append(time.monotonic() - start)
    except (SessionRefusedError, OSError) as error:
        trouble = f"{type(error).__name__}: {error}"
    results.put(SeenBySender(began, time.monotonic(), time.process_time() - started_cpu, times, trouble))


def taken(left: Synchronized[int]) -> int:
    """The next number, below 0 when there are none left."""
    with left.get_lock():
        left.value -= 1
        return left.value


def processors() -> tuple[int, int]:
    """Clock ticks that this machine's processors were idle for, or waited for a disk, and all ticks."""
    ticks = [
        int(word) for word in Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]
    ]
    return ticks[3] + ticks[4], sum(ticks)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("place", type=Place.parse)
    parser.add_argument("file", type=Path)
    parser.add_argument("senders", type=int)
    parser.add_argument("messages", type=int)
    parser.add_argument("--per-session", type=int, default=1)
    parser.add_argument("--kept", action="store_const", const=0, dest="per_session")
    parser.add_argument("--recipient", default=RECIPIENT)
    asked = parser.parse_args()
    context = multiprocessing.get_context("fork")
    left = context.Value(ctypes.c_long, asked.messages)
    gate = context.Barrier(asked.senders + 1)
    results = context.SimpleQueue()
    task = Task(asked.place, BenchMessage.read(asked.file), asked.recipient, asked.per_session)
    arguments = (task, left, gate, results)
    workers = [context.Process(target=work, args=arguments, daemon=True) for _ in range(asked.senders)]
    for worker in workers:
        worker.start()
    gate.wait()
    before = processors()
    said: list[SeenBySender] = [results.get() for _ in workers]
    idle, everything = (new - old for new, old in zip(processors(), before, strict=True))
    for worker in workers:
        worker.join()
    times = sorted(time for one in said for time in one.times)
    cpu = sum(one.cpu for one in said)
    used = resource.getrusage(resource.RUSAGE_CHILDREN), resource.getrusage(resource.RUSAGE_SELF)
    seen = {
        "messages": len(times),
        "seconds": max(one.ended for one in said) - min(one.began for one in said),
        "median": times[len(times) // 2] if times else 0.0,
        "p95": times[len(times) * 95 // 100] if times else 0.0,
        "idle": idle / everything if everything else 0.0,
        "cpu": cpu,
        # Of starting and ending, which is outside of the seconds.
        "started_cpu": sum(each.ru_utime + each.ru_stime for each in used) - cpu,
        "trouble": sorted({one.trouble for one in said if one.trouble}),
    }
    print(json.dumps(seen))
    return 0


if __name__ == "__main__":
    sys.exit(main())
