"""inotify limits, which the lab's hosts share with this machine: three systemds and Dovecot's idling clients.

Raised where they are lower, recorded, and put back when the lab goes.
"""

from __future__ import annotations

import json
from pathlib import Path

from tests.lab.files import write_whole

WANTED = {"max_user_instances": 65535, "max_user_watches": 65535}
PROC = Path("/proc/sys/fs/inotify")


def widen(record: Path) -> None:
    before: dict[str, int] = json.loads(record.read_text(encoding="ascii")) if record.exists() else {}
    for name, wanted in WANTED.items():
        now = int((PROC / name).read_text(encoding="ascii"))
        if now < wanted:
            before.setdefault(name, now)
    # Recorded before it is changed, so that an interruption between the two loses nothing.
    write_whole(record, json.dumps(before))
    for name in before:
        (PROC / name).write_text(str(WANTED[name]), encoding="ascii")


def restore(record: Path) -> None:
    if record.exists():
        for name, value in json.loads(record.read_text(encoding="ascii")).items():
            (PROC / name).write_text(str(value), encoding="ascii")
