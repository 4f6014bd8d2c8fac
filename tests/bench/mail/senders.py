"""The load: so many senders at once, each a process with one SMTP connection after the other.

`python -m tests.bench.mail.senders PORT FILE SENDERS MESSAGES [PER_SESSION]` sends the message in FILE so
often in all, as SMTP peers do it: EHLO; MAIL, RCPT and DATA in one piece (RFC 2920); the text with its end
and QUIT in one piece. Where the message says `SENDER`, every one has an address of its own. Prints what it
saw as JSON. Plain sockets, so that it takes little of the machine that it measures.
"""

from __future__ import annotations

import ctypes
import json
import multiprocessing
import resource
import socket
import sys
import time
from dataclasses import dataclass
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

RECIPIENT = "reader@elsewhere.lab"
PATIENCE = 30.0  # seconds for an answer
FIRST_OF_THIS_RUN = int(time.time()) % 1_000_000


class RefusedError(Exception):
    """Postfix answered with something else than what was to come."""


@dataclass(frozen=True)
class Message:
    """What is sent. `author` is empty where every message gets a sender of its own."""

    text: bytes
    author: str

    @classmethod
    def read(cls, file: Path) -> Message:
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
class Seen:
    """What one sender saw: when it began and ended, its CPU seconds, the seconds of each message, trouble."""

    began: float
    ended: float
    cpu: float
    times: list[float]
    trouble: str


class Session:
    """One SMTP connection."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._got = b""
        self._expect(b"220")
        self._say(b"EHLO peer.lab\r\n", b"250")

    def send(self, sender: str, text: bytes, *, last: bool) -> None:
        self._socket.sendall(f"MAIL FROM:<{sender}>\r\nRCPT TO:<{RECIPIENT}>\r\nDATA\r\n".encode())
        for code in (b"250", b"250", b"354"):
            self._expect(code)
        self._say(text + b".\r\n" + (b"QUIT\r\n" if last else b""), b"250")
        if last:
            self._socket.close()

    def _say(self, words: bytes, code: bytes) -> None:
        self._socket.sendall(words)
        self._expect(code)

    def _expect(self, code: bytes) -> None:
        """Reads one reply, to its last line."""
        while True:
            line, newline, rest = self._got.partition(b"\n")
            if not newline:
                more = self._socket.recv(65536)
                if not more:
                    raise RefusedError(f"closed after {self._got!r}")
                self._got += more
                continue
            self._got = rest
            if line[3:4] != b"-":
                break
        if not line.startswith(code):
            raise RefusedError(line.decode(errors="replace"))


def work(
    port: int,
    message: Message,
    per_session: int,
    left: Synchronized[int],
    gate: Any,
    results: Any,
) -> None:
    """One sender: takes numbers until there are none."""
    times: list[float] = []
    trouble = ""
    gate.wait()
    began, started_cpu = time.monotonic(), time.process_time()
    try:
        session, sent = None, 0
        while (number := taken(left)) >= 0:
            start = time.monotonic()
            if session is None:
                session, sent = Session(port), 0
            sent += 1
            session.send(*message.numbered(number), last=sent == per_session)
            if sent == per_session:
                session = None
            times.append(time.monotonic() - start)
    except (RefusedError, OSError) as error:
        trouble = f"{type(error).__name__}: {error}"
    results.put(Seen(began, time.monotonic(), time.process_time() - started_cpu, times, trouble))


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
    port, file, senders, messages, *rest = sys.argv[1:]
    per_session = int(rest[0]) if rest else 1
    context = multiprocessing.get_context("fork")
    left = context.Value(ctypes.c_long, int(messages))
    gate = context.Barrier(int(senders) + 1)
    results = context.SimpleQueue()
    message = Message.read(Path(file))
    arguments = (int(port), message, per_session, left, gate, results)
    workers = [context.Process(target=work, args=arguments, daemon=True) for _ in range(int(senders))]
    for worker in workers:
        worker.start()
    gate.wait()
    before = processors()
    said: list[Seen] = [results.get() for _ in workers]
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
