"""python -m tests.container: builds the image of this tree, which needs the network, unless it is there."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.container import image
from tests.lab import debian
from tests.lab.__main__ import progress
from tests.lab.errors import LabError
from tests.lab.lab import readable
from tests.lab.plan import Paths


def main() -> None:
    paths, say = Paths.from_environment(), progress()
    debian.require_root()
    debian.require_debian(Path("/etc/os-release").read_text(encoding="utf-8"))
    debian.install_tools(say, paths.cache / "tools.log")
    with readable():
        say(f"the image is {image.ensure(paths, say)}")


if __name__ == "__main__":
    try:
        main()
    except (LabError, ValueError) as error:
        print(error, file=sys.stderr)
        sys.exit(1)
