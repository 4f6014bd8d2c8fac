"""What came of a story, as a value that the table and the JSON are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.chat.hops import HOPS, Trace


@dataclass(frozen=True)
class SeenByStory:
    """What a story saw happen: by which road, in which words, and the hops where it is one message's way."""

    words: str
    road: str = ""
    trace: Trace | None = None


@dataclass(frozen=True)
class StoryOutcome:
    """A story that was played. `failure` is empty when everything in it happened."""

    title: str
    seconds: float
    seen: SeenByStory
    failure: str = ""

    def as_json(self) -> dict[str, Any]:
        """For `--json`: hop times in seconds, under the names of the table."""
        trace = self.seen.trace
        times = dict(zip(HOPS, trace.hops, strict=True)) if trace else {}
        return {
            "story": self.title,
            "ok": not self.failure,
            "failure": self.failure or None,
            "road": self.seen.road or None,
            "seen": self.seen.words,
            "seconds": round(self.seconds, 3),
            "hops": {name: round(seconds, 6) for name, seconds in times.items()} or None,
            "total": round(trace.total, 6) if trace else None,
        }
