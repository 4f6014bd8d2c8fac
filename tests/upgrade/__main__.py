"""`python -m tests.upgrade`: builds the version `FROM`, and the base of the lab's hosts for both versions."""

from __future__ import annotations

import sys

from tests.lab import LabError, base, debian
from tests.lab.__main__ import progress
from tests.lab.lab import readable
from tests.upgrade import FROM
from tests.upgrade.earlier import Earlier


def main() -> None:
    say = progress()
    debian.require_root()
    earlier = Earlier.of(FROM)
    earlier.build(say)
    lab = earlier.lab()
    debian.install_tools(say, lab.paths.cache / "tools.log")
    with readable():
        say(f"the base is {base.ensure(lab.paths, say, lab.packages)}")


if __name__ == "__main__":
    try:
        main()
    except LabError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
