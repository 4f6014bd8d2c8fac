"""No two classes have the same name, so that a search finds one. (`TestX` may be in several files.)"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from tests.lab.plan import REPOSITORY

# At the top level of a module. (To parse all files takes 1.4 s in place of 0.2.)
_CLASS = re.compile(r"^class (?!Test)(\w+)", re.M)


def twice(sources: Sequence[str]) -> list[str]:
    found = Counter(name for source in sources for name in _CLASS.findall(source))
    return sorted(name for name, times in found.items() if times > 1)


def test_what_is_defined_twice_is_found() -> None:
    assert twice(
        ["class Peer: ...\nclass TestPeer: ...\n", "class TestPeer: ...\n", "class Peer: ...\n"]
    ) == ["Peer"]


def test_each_class_has_a_name_of_its_own() -> None:
    files = [
        file
        for folder in ("chatmail_milter", "mxdeliv_app", "tests")
        for file in (REPOSITORY / folder).rglob("*.py")
    ]
    assert len(files) > 400
    assert twice([file.read_text("utf-8") for file in files if "node_modules" not in file.parts]) == []
