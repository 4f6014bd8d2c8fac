"""Reads the instructions that our Containerfile uses, and refuses all others. Pure, but for finding files.

Left out: stages, flags, variables, here-documents, the exec form of RUN, and directories as sources.
https://docs.docker.com/reference/dockerfile/
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

# Those whose arguments are words, a JSON list, or the whole line.
WORDS, LISTS, LINES = ("COPY", "ADD", "EXPOSE", "FROM", "STOPSIGNAL"), ("CMD", "VOLUME"), ("RUN",)
REFUSED = re.compile(r"^--|<<|\$")


@dataclass(frozen=True)
class Instruction:
    """`words` are the arguments; of RUN there is one, the command for the shell."""

    name: str
    words: tuple[str, ...]


def parse(text: str) -> list[Instruction]:
    """The instructions in order. Raises `ValueError` at what it does not understand."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", "", "\n".join(lines))
    found = [instruction(line.strip()) for line in joined.splitlines() if line.strip()]
    if [one.name for one in found].count("FROM") != 1 or found[0].name != "FROM":
        raise ValueError("one FROM, and before all others")
    return found


def instruction(line: str) -> Instruction:
    """One, with its continuation lines joined."""
    name, _, rest = line.partition(" ")
    rest = rest.strip()
    if name in LISTS:
        words = json.loads(rest)
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise ValueError(f"no list of strings: {line}")
        return Instruction(name, tuple(words))
    if name in LINES:
        if rest.startswith(("[", "--")) or "<<" in rest:
            raise ValueError(f"no command of a shell: {line}")
        return Instruction(name, (rest,))
    if name not in WORDS:
        raise ValueError(f"no instruction that is known here: {line}")
    if any(REFUSED.search(word) for word in rest.split()) or not rest:
        raise ValueError(f"an argument that is not known here: {line}")
    return Instruction(name, tuple(rest.split()))


def sources(one: Instruction, context: Path) -> list[Path]:
    """The files that a COPY or ADD names, in the context. Raises `ValueError` where there is none."""
    *patterns, target = one.words
    found = [path for pattern in patterns for path in sorted(context.glob(pattern))]
    if not target.endswith("/") or not all(path.is_file() for path in found):
        raise ValueError(f"not files into a directory: {one}")
    if missing := [pattern for pattern in patterns if not any(context.glob(pattern))]:
        raise ValueError(f"not in the context: {missing}")
    return found
