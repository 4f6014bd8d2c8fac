"""The boundary parameter of a Content-Type (RFC 2046, 5.1.1).

RFC 2231 lets a parameter be split into numbered pieces and percent-encoded. Servers that fold long lines do
this to boundaries, so it is accepted from peers, but not from our own users.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import unquote_to_bytes

from chatmail_milter.gate.errors import RefusedError

# RFC 2046, 5.1.1: 1 to 70 bcharsnospace. A blank, which the RFC allows inside, is refused: folding loses it.
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=?-]{1,70}")
# RFC 2231, 4: charset and language before the value. The charset is ignored: a boundary is ASCII.
_EXTENDED = re.compile(r"[A-Za-z0-9_-]*'[A-Za-z0-9-]*'(.*)")
# Pieces of a split boundary: more than enough for 70 characters.
_PIECES_MOST = 10


def boundary(parameters: Mapping[str, str], *, strict: bool) -> bytes:
    """The boundary among a multipart's `parameters` (names in lower case).

    `strict`: refuse RFC 2231 encoding. Raises `RefusedError` if there is none, or more than one.
    """
    names = [name for name in parameters if name == "boundary" or name.startswith("boundary*")]
    if names == ["boundary"]:
        text = parameters["boundary"]
    elif not names or strict:
        raise RefusedError("boundary")
    else:
        text = _joined(parameters, len(names))
    if not _BOUNDARY.fullmatch(text):
        raise RefusedError("boundary")
    return text.encode("ascii")


def _joined(parameters: Mapping[str, str], count: int) -> str:
    """Joins the `count` parameters `boundary*`, `boundary*0`, `boundary*1*`... (RFC 2231, 3 and 4)."""
    if count == 1 and "boundary*" in parameters:
        pieces = [(parameters["boundary*"], True)]
    else:
        pieces = []
        for number in range(min(count, _PIECES_MOST)):
            plain, extended = f"boundary*{number}", f"boundary*{number}*"
            name = plain if plain in parameters else extended
            if name not in parameters:
                break
            pieces.append((parameters[name], name == extended))
    if len(pieces) != count:
        raise RefusedError("boundary")
    if pieces[0][1]:
        matched = _EXTENDED.fullmatch(pieces[0][0])
        if matched is None:
            raise RefusedError("boundary")
        pieces[0] = (matched[1], True)
    return "".join(unquote_to_bytes(text).decode("latin-1") if coded else text for text, coded in pieces)
