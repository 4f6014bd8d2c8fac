"""The gate by itself: a large message against a plain Base64 decoder, a small one by itself, memory."""

from __future__ import annotations

import binascii
import io
import tracemalloc
from collections.abc import Sequence

from chatmail_milter.gate.gate import Classification, Direction, Envelope, Gate
from chatmail_milter.gate.message import read
from tests import messages, packets
from tests.bench.context import BenchContext
from tests.bench.rounds import timed
from tests.bench.table import RATIOS, BenchTable, Measured, figure, ratio

LARGE = 27_000_000  # octets of the large message
SMALL = 4096
# What Postfix gives a milter at a time: 65535 octets (MILTER_CHUNK_SIZE), to which it fills up.
CHUNK = 65535
ROUNDS = 9
SMALL_TIMES = 500


def sealed(size: int) -> tuple[str, bytes]:
    """A message of about so many octets as Delta Chat makes it for two readers: its armor, and all of it."""
    # 64 characters and a line end carry 48 octets; the rest is header, session keys and armor lines.
    room = max(size - 1300, 0) * 48 // 66
    body = b"\x01" + packets.noise(room)
    large = packets.partial(packets.SEIPD, body, 16) if room > 100_000 else packets.new(packets.SEIPD, body)
    armor = packets.armored(packets.pkesk() * 2 + large)
    return armor, messages.encrypted(armor)


class Case:
    """One message, parsed as Postfix hands it to the milter."""

    def __init__(self, message: bytes) -> None:
        opened = read(io.BytesIO(message))
        body = b"".join(opened.body)
        self._fields = opened.fields
        self._chunks = [body[at : at + CHUNK] for at in range(0, len(body), CHUNK)]
        self._envelope = Envelope(messages.ALICE, (messages.BOB,))

    def judge(self) -> Classification:
        gate = Gate(Direction.OUT, self._envelope, self._fields)
        for chunk in self._chunks:
            gate.feed(chunk)
        return gate.finish()

    def memory(self) -> int:
        """By how many octets memory grew at most, the message itself aside."""
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        self.judge()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak - before


def measure(context: BenchContext) -> Sequence[BenchTable]:
    armor, message = sealed(LARGE)
    text = armor.encode("ascii")
    # What any program that looks inside must do: the same Base64, all at once, and nothing else.
    base64 = text[text.index(b"\r\n\r\n") + 4 : text.rindex(b"\r\n=")]
    large, small = Case(message), Case(sealed(SMALL)[1])
    for case in (large, small):
        if case.judge().kind.value != "encrypted":
            raise AssertionError(f"the gate refused what it is to be measured by: {case.judge().reason}")
    context.say(f"{len(message) / 1e6:.1f} MB and {len(sealed(SMALL)[1])} octets, {ROUNDS} rounds")
    bulk = timed({"gate": large.judge, "a2b": lambda: binascii.a2b_base64(base64)}, ROUNDS)
    rates = {name: _rate(len(base64), seconds) for name, seconds in bulk.items()}
    few = timed({"small": lambda: [small.judge() for _ in range(SMALL_TIMES)]}, ROUNDS, 1e6 / SMALL_TIMES)
    rows = (
        ratio("gate, 27 MB armored / binascii.a2b_base64", rates["gate"], rates["a2b"], "≥ 0.5", "MB/s"),
        figure("  memory it takes at most", large.memory() / 2**20, "< 2", "MiB"),
        figure("gate, 4 KB chat message", few["small"], "< 100", "µs of CPU"),
    )
    return (
        BenchTable(
            "The gate", RATIOS, rows, f"CPU time, {ROUNDS} rounds by turns; chunks of {CHUNK} octets."
        ),
    )


def _rate(size: int, seconds: Measured) -> Measured:
    """MB a second."""
    return Measured.of(size / 1e6 / each for each in seconds.rounds)
