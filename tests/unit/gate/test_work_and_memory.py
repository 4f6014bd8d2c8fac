"""The gate's work for a message, in counted steps, and its memory. `make bench` measures the time."""

from __future__ import annotations

import io
from collections.abc import Iterable

import pytest

from chatmail_milter.gate.gate import Direction, Envelope, Gate, Kind
from chatmail_milter.gate.message import read
from tests import messages, packets
from tests.messages import ALICE, BOB
from tests.work import peak, work

ENVELOPE = Envelope(ALICE, (BOB,))


def pass_through(fields: Iterable[tuple[bytes, bytes]], chunks: Iterable[bytes]) -> None:
    gate = Gate(Direction.OUT, ENVELOPE, fields)
    for chunk in chunks:
        gate.feed(chunk)
    assert gate.finish().kind is Kind.ENCRYPTED


def test_a_chat_message_is_handed_on_less_than_thirty_times() -> None:
    octets = messages.sealed(packets.pkesk() * 2 + packets.seipd(size=2300))
    assert 4000 < len(octets) < 4400
    opened = read(io.BytesIO(octets))
    body = b"".join(opened.body)
    # From layer to layer, header and steps included; it is about 20.
    assert work(lambda: pass_through(opened.fields, [body])) < 30 * len(octets)


@pytest.mark.slow
def test_27_megabytes_are_handed_on_less_than_15_times_and_2_mib_of_them_are_in_memory() -> None:
    octets = messages.sealed(
        packets.pkesk() + packets.partial(packets.SEIPD, b"\x01" + packets.noise(19_500_000), 16)
    )
    assert 26_000_000 < len(octets) < 28_000_000
    opened = read(io.BytesIO(octets))
    chunks = list(opened.body)
    assert work(lambda: pass_through(opened.fields, chunks)) < 15 * len(octets)
    assert peak(lambda: pass_through(opened.fields, chunks)) < 2 << 20
