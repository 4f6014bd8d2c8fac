"""Converts text to macros of man(7), escaped so that no text is read as a request."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable

WORDS = re.compile(r"`([^`]+)`|\*\*([^*]+)\*\*")


def page(name: str, section: int, epoch: int, version: str, body: Iterable[str]) -> str:
    """A whole page. `epoch`: its date as POSIX time."""
    day = datetime.datetime.fromtimestamp(epoch, datetime.UTC).date().isoformat()
    head = f'.TH "{escape(name.upper())}" {section} {day} "chatmail-milter {version}" "chatmail-milter"'
    # Words of a command are not to be broken, nor lines stretched around them.
    return "\n".join([head, ".nh", ".ad l", *body]) + "\n"


def heading(text: str) -> str:
    return f".SH {escape(text)}"


def subheading(text: str) -> str:
    return f".SS {escape(text)}"


def paragraphs(text: str) -> Iterable[str]:
    """The paragraphs of a docstring."""
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        yield ".PP"
        yield formatted(" ".join(paragraph.split()))


def item(tag: str, text: str) -> Iterable[str]:
    """An option, a key or a file with its description."""
    yield ".TP"
    yield f"\\fB{escape(tag)}\\fR"
    yield formatted(" ".join(text.split()))


def formatted(text: str) -> str:
    """A line of text; `quoted` and **strong** text is bold."""
    parts, last = [], 0
    for found in WORDS.finditer(text):
        parts += [escape(text[last : found.start()]), f"\\fB{escape(found[1] or found[2])}\\fR"]
        last = found.end()
    return guarded("".join([*parts, escape(text[last:])]))


def escape(text: str) -> str:
    r"""Escapes backslashes, `-` (so that it can be copied), and quotes (which would end an argument)."""
    return text.replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq").replace("'", "\\(aq")


def guarded(line: str) -> str:
    """Escapes a line that begins with a dot or a quote, which would be a request."""
    return f"\\&{line}" if line.startswith((".", "'")) else line
