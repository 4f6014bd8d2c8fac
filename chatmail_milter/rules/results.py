"""Parser for Authentication-Results (RFC 8601, 2.2), for the method `dkim` (2.7.1).

Senders choose part of what a verifier prints there (`d=`, `i=`, `s=`), so a result with a stray word or a
repeated property is ignored.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

# A quoted string, a comment's parenthesis, a separator, or a word.
_PIECE = re.compile(r'"(?:[^"\\]|\\.)*"|[()=;]|\s+|[^\s()=;"]+|"')
_ESCAPED = re.compile(r"\\.")


@dataclass(frozen=True, slots=True)
class DkimResult:
    """The `result` for one signature (RFC 8601, 2.7.1).

    `domain`, `selector`, `signature`: its `header.d`, `header.s` and `header.b` (the first characters of the
    signature, RFC 6008), each empty if missing.
    """

    result: str
    domain: str
    selector: str = ""
    signature: str = ""


@dataclass(frozen=True, slots=True)
class Results:
    """One header field: the authserv-id of its writer, and the DKIM results in it."""

    authserv_id: str
    dkim: tuple[DkimResult, ...]


def parse(value: bytes) -> Results:
    """Parses the field's value. Ignores malformed results; the authserv-id is empty if missing."""
    clauses = list(_clauses(value))
    # A version may follow the authserv-id (RFC 8601, 2.2).
    authserv_id = clauses[0][0].lower() if clauses[0] else ""
    return Results(authserv_id, tuple(filter(None, map(_dkim, clauses[1:]))))


def _clauses(value: bytes) -> Iterator[list[str]]:
    """The clauses between semicolons, each a list of words and equals signs, without comments."""
    text = _ESCAPED.sub("_", value.decode("latin-1"))
    depth = 0
    clause: list[str] = []
    for piece in _PIECE.findall(text):
        if piece in ("(", ")"):
            depth = max(0, depth + (1 if piece == "(" else -1))
        elif depth or piece.isspace():
            continue
        elif piece == ";":
            yield clause
            clause = []
        else:
            clause.append(piece[1:-1] if len(piece) > 1 and piece[0] == '"' else piece)
    yield clause


def _dkim(clause: list[str]) -> DkimResult | None:
    """Parses `dkim=pass header.d=example.org …`; None if it is malformed or of another method."""
    if len(clause) % 3 or any(clause[at] != "=" for at in range(1, len(clause), 3)):
        return None
    names = [name.lower() for name in clause[0::3]]
    if names[:1] != ["dkim"] or len(set(names)) != len(names):
        return None
    said = dict(zip(names, clause[2::3], strict=True))
    return DkimResult(
        said["dkim"].lower(),
        said.get("header.d", "").lower(),
        said.get("header.s", "").lower(),
        said.get("header.b", ""),
    )
