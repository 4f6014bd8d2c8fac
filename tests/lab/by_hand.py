"""docs/install-by-hand.md done on a host: the lines of the document, with names of the lab in its examples.

A fenced block is either `sh`, run as root in /root, or `conf PATH`: of Postfix's two files it is added at the
end, any other file is made of it. Parts are the sections of the document, by the first word of the heading.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tests.lab.host import LabHost
from tests.lab.plan import REPOSITORY

DOCUMENT = REPOSITORY / "docs/install-by-hand.md"
ADDED_TO = ("/etc/postfix/main.cf", "/etc/postfix/master.cf")
_BLOCK = re.compile(
    r"^## (?P<part>\S+)[^\n]*$|^```(?P<kind>sh|conf) ?(?P<path>\S*)\n(?P<text>.*?)^```$", re.M | re.S
)


@dataclass(frozen=True)
class DocumentedStep:
    """`path` is empty where `text` is run."""

    part: str
    path: str
    text: str


def steps() -> Iterator[DocumentedStep]:
    """What the document has one do, in its order."""
    part = ""
    for found in _BLOCK.finditer(DOCUMENT.read_text("utf-8")):
        if found["part"]:
            part = found["part"].strip("()")
        else:
            yield DocumentedStep(part, found["path"], found["text"])


def do(host: LabHost, part: str, names: Mapping[str, str]) -> None:
    """Do one part on `host`, with the values of `names` in place of their keys."""
    known = [one for one in steps() if one.part == part]
    assert known, part
    for one in known:
        text = one.text
        for name, value in names.items():
            text = text.replace(name, value)
        if one.path:
            sign = ">>" if one.path in ADDED_TO else ">"
            path = shlex.quote(one.path)
            host.run(f"mkdir -p $(dirname {path}) && cat {sign} {path}", input=text)
        else:
            host.run(["sh", "-ec", f"cd /root\nexport DEBIAN_FRONTEND=noninteractive\n{text}"], timeout=900)
