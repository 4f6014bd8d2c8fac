"""What the gate may cost, in CPU time and memory.

Time is counted in that of decoding the same Base64, taken in the same run: a busy machine slows down both.
"""

from __future__ import annotations

import binascii
import io
import time
import tracemalloc
from collections.abc import Callable, Iterable

from chatmail_milter.gate.gate import Direction, Envelope, Gate, Kind
from chatmail_milter.gate.message import read
from tests import messages, packets
from tests.messages import ALICE, BOB

ENVELOPE = Envelope(ALICE, (BOB,))


def pass_through(fields: Iterable[tuple[bytes, bytes]], chunks: Iterable[bytes]) -> None:
    gate = Gate(Direction.OUT, ENVELOPE, fields)
    for chunk in chunks:
        gate.feed(chunk)
    assert gate.finish().kind is Kind.ENCRYPTED


def ratio(ours: Callable[[], object], theirs: Callable[[], object], runs: int, times: int) -> float:
    """How often `theirs` could be done while `ours` is, by the CPU time of the best of some runs each."""
    best = [float("inf"), float("inf")]
    for _ in range(runs):
        for which, work in enumerate((ours, theirs)):
            begun = time.process_time()
            for _ in range(times):
                work()
            best[which] = min(best[which], time.process_time() - begun)
    return best[0] / best[1]


def base64_of(octets: bytes) -> bytes:
    return octets[octets.index(b"MESSAGE-----") + 16 : octets.rindex(b"\r\n=")]


def test_a_chat_message_takes_less_than_ten_times_its_base64() -> None:
    # Where 4 KB of Base64 take 10 microseconds, that is less than 100; it is about 60.
    octets = messages.sealed(packets.pkesk() * 2 + packets.seipd(size=2300))
    assert 4000 < len(octets) < 4400
    opened = read(io.BytesIO(octets))
    body, text = b"".join(opened.body), base64_of(octets)
    assert ratio(lambda: pass_through(opened.fields, [body]), lambda: binascii.a2b_base64(text), 20, 100) < 10


def test_27_megabytes_take_at_most_twice_as_long_as_their_base64_and_2_mib() -> None:
    octets = messages.sealed(
        packets.pkesk() + packets.partial(packets.SEIPD, b"\x01" + packets.noise(19_500_000), 16)
    )
    assert 26_000_000 < len(octets) < 28_000_000
    opened = read(io.BytesIO(octets))
    chunks = list(opened.body)
    text = base64_of(octets)
    assert ratio(lambda: pass_through(opened.fields, chunks), lambda: binascii.a2b_base64(text), 4, 1) < 2

    tracemalloc.start()
    pass_through(opened.fields, chunks)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 << 20
