"""The samples as values, and the files that list them. What a sample is, its maker states."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

ALICE, BOB = "alice0001@_a.lab", "bob000001@_b.lab"
CAROL, DAVE = "carol0001@_b.lab", "dave00001@_b.lab"

# What a message may be (the values of the gate's `Kind`); nothing of the gate is used to say so.
ENCRYPTED, SECURE_JOIN, NONE = "encrypted", "securejoin", "none"

ROOM = Path(__file__).parent
SAMPLES = ROOM / "samples"
LARGE = ROOM / "large"

# What is longer than this is not committed.
COMMITTED_MOST = 64_000


@dataclass(frozen=True)
class Sample:
    """A message, and what kind the gate must find it to be, submitted and coming in."""

    name: str  # of the file, without its ending
    producer: str  # program and version
    about: str
    outgoing: str
    incoming: str
    sender: str  # of the envelope, as is
    recipients: tuple[str, ...]

    def __str__(self) -> str:
        return self.name

    @property
    def large(self) -> bool:
        return not self._path(SAMPLES).exists()

    @property
    def octets(self) -> bytes:
        return self._path(LARGE if self.large else SAMPLES).read_bytes()

    def _path(self, folder: Path) -> Path:
        return folder / f"{self.name}.eml"


def committed() -> list[Sample]:
    """The samples that every checkout has."""
    return _read(SAMPLES)


def samples() -> list[Sample]:
    """The same, and the large ones if they were made here."""
    return committed() + _read(LARGE)


def _read(folder: Path) -> list[Sample]:
    manifest = folder / "manifest.json"
    if not manifest.exists():
        return []
    entries = json.loads(manifest.read_text())
    return [Sample(**{**entry, "recipients": tuple(entry["recipients"])}) for entry in entries]


def replace(room: str, made: Iterable[tuple[Sample, bytes]]) -> int:
    """Write the samples of one room (`gnupg`, ...) in place of those that were there. How many octets."""
    total = 0
    fresh = list(made)
    for folder, large in ((SAMPLES, False), (LARGE, True)):
        others = [sample for sample in _read(folder) if not sample.name.startswith(f"{room}/")]
        for old in (folder / room).glob("*.eml"):
            old.unlink()
        ours = [(sample, octets) for sample, octets in fresh if (len(octets) > COMMITTED_MOST) is large]
        for sample, octets in ours:
            path = folder / f"{sample.name}.eml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(octets)
            total += len(octets)
        entries = sorted(others + [sample for sample, _ in ours], key=lambda sample: sample.name)
        if entries:
            lines = ",\n".join(json.dumps(asdict(entry)) for entry in entries)
            (folder / "manifest.json").write_text(f"[\n{lines}\n]\n")
    return total
