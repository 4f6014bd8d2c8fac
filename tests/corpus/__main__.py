"""`python -m tests.corpus [core] [gnupg] [pgpy] [sequoia] [mailparse]`: make these samples anew, or all.

What mailparse sees in them comes last."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

from tests.corpus import by_core, by_gnupg, by_mailparse, by_pgpy, by_sequoia, manifest
from tests.corpus.wrapped import Made

_ROOMS: dict[str, Callable[[], Iterator[Made]]] = {
    "core": by_core.make,
    "gnupg": by_gnupg.make,
    "pgpy": by_pgpy.make,
    "sequoia": by_sequoia.make,
}

_RECORD = "mailparse"


def main(rooms: list[str]) -> int:
    known = (*_ROOMS, _RECORD)
    if unknown := set(rooms) - set(known):
        print(f"no such room: {', '.join(sorted(unknown))}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    for room in (one for one in _ROOMS if one in rooms or not rooms):
        try:
            made = list(_ROOMS[room]())
        except FileNotFoundError as missing:
            print(
                f"{room}: there is no {missing.filename} here; on Debian: apt-get install gnupg",
                file=sys.stderr,
            )
            return 1
        octets = manifest.replace(room, made)
        print(f"{room}: {len(made)} samples, {octets} octets, by {made[0][0].producer}")
    if _RECORD in rooms or not rooms:
        try:
            print(f"{_RECORD}: {by_mailparse.make()} messages that pass")
        except FileNotFoundError:
            print(f"{_RECORD}: there is no cargo here", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
