"""What a delivery report may be, stated a second time over trees that other people's parsers made.

It may be more lenient than the gate; but no reader may find anything in a report that passes besides text, a
delivery status, and a header or an encrypted message.
"""

from __future__ import annotations

import re

from tests.corpus.rule import READERS, _as_postfix_writes, _without_comments, kind
from tests.corpus.trees import Reader, Tree

_STATUS = ("message/delivery-status", "message/global-delivery-status")
_HEADER = ("text/rfc822-headers", "message/global-headers", "message/rfc822-headers")
_MESSAGE = ("message/rfc822", "message/global")
_OUTSIDE_MOST = 520
# RFC 5322, 4.5 has white space before the colon; Python's library ends the header there.
_SPACED = re.compile(rb"^([!-9;-~]+)[ \t]+:", re.MULTILINE)


def is_report(octets: bytes, reader: Reader) -> bool:
    """Whether `octets` are a delivery report to this reader, and nothing else."""
    tree = reader(_SPACED.sub(rb"\1:", _without_comments(_as_postfix_writes(octets))))
    if len(octets) > 65_536 or tree.type != "multipart/report" or len(tree.parts) not in (2, 3):
        return False
    text, status, *quoted = tree.parts
    return (
        "delivery-status" in "".join(tree.values("content-type")).lower()
        and len(tree.outside.strip()) <= _OUTSIDE_MOST
        and text.type == "text/plain"
        and not text.parts
        and b"\0" not in text.octets
        and not any("attachment" in value or "name" in value for value in text.values("content-disposition"))
        and status.type in _STATUS
        and all(_is_quoted(part, reader) for part in quoted)
    )


def _is_quoted(part: Tree, reader: Reader) -> bool:
    # (Python's library takes `message/rfc822-headers` for a message, without a body.)
    if part.type in _HEADER:
        return all(not inner.parts and not inner.octets.strip() for inner in part.parts)
    if part.type not in _MESSAGE:
        return False
    if part.parts:  # by Python's library, which reads the message within
        inner = part.parts[0]
        return inner.type in ("multipart/encrypted", "multipart/mixed") or not inner.octets.strip()
    head, _, body = part.octets.replace(b"\r\n", b"\n").partition(b"\n\n")
    return not body.strip() or kind("in", part.octets, reader) != "none" or not head


__all__ = ["READERS", "is_report"]
