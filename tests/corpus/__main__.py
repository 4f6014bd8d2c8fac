"""`python -m tests.corpus [core] [gnupg] [pgpy] [sequoia]`: make these samples anew, or all of them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

from tests.corpus import by_core, by_gnupg, by_pgpy, by_sequoia, manifest
from tests.corpus.wrapped import Made

_ROOMS: dict[str, Callable[[], Iterator[Made]]] = {
    "core": by_core.make,
    "gnupg": by_gnupg.make,
    "pgpy": by_pgpy.make,
    "sequoia": by_sequoia.make,
}


def main(rooms: list[str]) -> int:
    if unknown := set(rooms) - set(_ROOMS):
        print(f"no such room: {', '.join(sorted(unknown))}; there are {', '.join(_ROOMS)}", file=sys.stderr)
        return 2
    for room in rooms or _ROOMS:
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
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
