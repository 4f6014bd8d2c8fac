"""Sanitises peers' reply texts for storage and display: one short line, without addresses.

Peers often repeat the refused address, and may send any text, even terminal escape sequences.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

LONGEST = 200  # characters
# Characters that are searched for addresses before the text is cut, so that no part of one is left at the
# cut.
_READ = 1024
# Any word with an @, also as encoded in URLs (RFC 3986), quoted-printable and HTML.
_ADDRESS = re.compile(r"[^\s<>\"'(),;:]*(?:@|%40|=40|&#64;|&#x40;|&commat;)[^\s<>\"'(),;]*", re.IGNORECASE)
_NOBODY = "…"


def printable(text: str) -> str:
    """`text` with each run of control characters, formatting characters and white space as one space."""
    return " ".join("".join(one if one.isprintable() else " " for one in text).split())


def anonymous(text: str, addresses: Iterable[str] = ()) -> str:
    """`text` as one short line without addresses, and without the local parts of `addresses` as words."""
    line = printable(text[:_READ])
    lowered = line.lower()
    # Filtered first: there may be a thousand recipients, of which the text names one.
    named = [one for one in map(printable, addresses) if one and one.rpartition("@")[0].lower() in lowered]
    for one in named:
        line = re.sub(re.escape(one), _NOBODY, line, flags=re.IGNORECASE)
    line = _ADDRESS.sub(_NOBODY, line)
    for local_part in filter(None, (one.rpartition("@")[0] for one in named)):
        alone = rf"(?<!\w){re.escape(local_part)}(?!\w)"
        line = re.sub(alone, _NOBODY, line, flags=re.IGNORECASE)
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"
