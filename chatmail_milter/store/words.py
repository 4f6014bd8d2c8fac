"""A peer's own words about a failure, made fit to be stored and shown: short, one line, naming nobody.

Peers like to repeat the address that they refuse, and may write whatever they want, escape sequences for a
terminal too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

LONGEST = 200  # characters
# Looked at before it is cut to that, so that an address at the cut is still one.
_READ = 1024
# Whatever has an @ in it, also as URLs (RFC 3986), quoted-printable and HTML write it.
_ADDRESS = re.compile(r"[^\s<>\"'(),;:]*(?:@|%40|=40|&#64;|&#x40;|&commat;)[^\s<>\"'(),;]*", re.IGNORECASE)
_NOBODY = "…"


def printable(text: str) -> str:
    """`text` without control and formatting characters; each run of them, or of white space, is one space."""
    return " ".join("".join(one if one.isprintable() else " " for one in text).split())


def anonymous(text: str, addresses: Iterable[str] = ()) -> str:
    """`text` in one short line without addresses, and without the local parts of `addresses` where alone."""
    line = printable(text[:_READ])
    lowered = line.lower()
    # A letter may have a thousand recipients; hardly any of them turns up.
    named = [one for one in map(printable, addresses) if one and one.rpartition("@")[0].lower() in lowered]
    for one in named:
        line = re.sub(re.escape(one), _NOBODY, line, flags=re.IGNORECASE)
    line = _ADDRESS.sub(_NOBODY, line)
    for local_part in filter(None, (one.rpartition("@")[0] for one in named)):
        alone = rf"(?<!\w){re.escape(local_part)}(?!\w)"
        line = re.sub(alone, _NOBODY, line, flags=re.IGNORECASE)
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"
