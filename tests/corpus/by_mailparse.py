"""What Rust's mailparse, and so Delta Chat, sees in what the gate lets pass: once asked and recorded.

Messages are the samples, and each of them spoilt in many ways, as Postfix would hand them on. Recorded is
what was passed then. If a change of the gate or of a mutation lets another message pass, the test asks for a
new record: `python -m tests.corpus mailparse`, with cargo.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from chatmail_milter.ctl.received import receive
from chatmail_milter.gate.gate import Direction, Envelope, check
from tests import case_files
from tests.corpus import field_mutations, mutations
from tests.corpus.manifest import ALICE, BOB, ENCRYPTED, SECURE_JOIN, committed
from tests.corpus.mutations import Mutation

CRATE = Path(__file__).with_name("mailparse")
RECORD = Path(__file__).with_name("mailparse.json")

# So many spoilt messages are made of each sample.
_TIMES = 25
# Those that know MIME.
_MUTATIONS: tuple[Mutation, ...] = (
    mutations.text,
    mutations.noise,
    mutations.line_order,
    mutations.line_end,
    mutations.all_line_ends,
    mutations.boundary_line,
    mutations.part,
    mutations.part_order,
    field_mutations.header_field,
    field_mutations.boundary_parameter,
    field_mutations.content_type,
    field_mutations.transfer_encoding,
)


@dataclass(frozen=True)
class Passed:
    """A message that the gate lets pass, and as what."""

    name: str
    octets: bytes
    kind: str

    @property
    def key(self) -> str:
        return hashlib.sha256(self.octets).hexdigest()[:16]


def passed() -> Iterator[Passed]:
    """Of all messages those that pass, submitted or coming in."""
    for name, octets in _messages():
        handed_on = _as_handed_on(octets)
        for direction in Direction:
            reason = check(direction, Envelope(ALICE, (BOB,)), handed_on).reason
            if reason in (ENCRYPTED, SECURE_JOIN):
                yield Passed(f"{name}, {direction.value}", handed_on, reason)
                break


def make() -> int:
    """Ask mailparse about each, and write down what it sees; how many."""
    messages = {one.key: one.octets for one in passed()}
    with tempfile.TemporaryDirectory() as target:
        environment = os.environ | {"CARGO_TARGET_DIR": target}
        build = ["cargo", "build", "--quiet", "--release", "--locked"]
        subprocess.run(build, cwd=CRATE, env=environment, check=True)
        asked = b"".join(b"%d\n%s" % (len(octets), octets) for octets in messages.values())
        program = Path(target) / "release/by-mailparse"
        said = subprocess.run([program], input=asked, stdout=subprocess.PIPE, check=True).stdout
    seen = zip(messages, said.decode("ascii").splitlines(), strict=True)
    lines = ",\n".join(f'"{key}":{line}' for key, line in sorted(seen))
    RECORD.write_text(f"{{\n{lines}\n}}\n")
    return len(messages)


def recorded() -> dict[str, dict[str, object] | None]:
    """By `Passed.key`: type, encoding, hash of the body, parts; None where mailparse reads nothing."""
    found: dict[str, dict[str, object] | None] = json.loads(RECORD.read_text())
    return found


def _messages() -> Iterator[tuple[str, bytes]]:
    for name in case_files.WRITTEN_BY_ALICE:
        yield from _spoilt(name, case_files.octets(name))
    for sample in committed():
        if len(sample.octets) < 8000:
            yield from _spoilt(sample.name, sample.octets)


def _spoilt(name: str, octets: bytes) -> Iterator[tuple[str, bytes]]:
    yield name, octets
    for number in range(_TIMES):
        random = Random(f"{name} {number}")  # noqa: S311 (no secret)
        spoilt = octets
        for _ in range(1 + number % 2):
            spoilt = random.choice(_MUTATIONS)(random, spoilt)
        yield f"{name} {number}", spoilt


def _as_handed_on(octets: bytes) -> bytes:
    received = receive(io.BytesIO(octets), Direction.IN)
    if received is None:
        return b""
    header = b"".join(b"%s:%s\r\n" % (name.encode(), value) for name, value in received.fields)
    return header + b"\r\n" + b"".join(received.body)
