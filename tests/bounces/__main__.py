"""`python -m tests.bounces`: each cause in the lab, seen with the real Delta Chat; writes docs/bounces.md.

Brings the lab up and takes it down again, unless `KEEP=1` is in the environment.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

from tests.bounces.causes import CAUSES
from tests.bounces.observe import look
from tests.bounces.page import BounceScene, page
from tests.chat.core import Core
from tests.chat.deadline import deadline
from tests.chat.stage import Stage
from tests.lab import Lab
from tests.lab.plan import REPOSITORY

PAGE = REPOSITORY / "docs/bounces.md"
CAUSE_SECONDS = 150.0


def main() -> int:
    """Write the page; 0."""
    lab = Lab()
    try:
        lab.up(_say)
        lab.deploy(_say)
        with Core(lab.netns("client")) as core:
            PAGE.write_text(page(core.version, list(_scenes(Stage(lab, core)))), encoding="utf-8")
    finally:
        if not os.environ.get("KEEP"):
            lab.down(_say)
    _say(f"written: {PAGE}")
    return 0


def _scenes(stage: Stage) -> Iterator[BounceScene]:
    here = stage.lab.host("a").domain
    old, new = stage.newcomer(here), stage.newcomer(here)
    old.accept_cleartext()
    for cause in CAUSES:
        _say(cause.title)
        with deadline(cause.title, CAUSE_SECONDS):
            yield BounceScene(cause, look(cause, stage.lab, old), look(cause, stage.lab, new))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
