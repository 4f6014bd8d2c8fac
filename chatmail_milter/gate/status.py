"""Checks a `message/delivery-status` (RFC 3464, 2.1): fields of the message, then a group for each recipient.

Requires the fields that readers of reports need, and nothing but fields. Tolerates how mail systems deviate
from the RFC's grammar: two recipients in one group (chasquid), a comment after the status (PowerMTA), address
types of RFC 6533, `X-` fields of all kinds.
"""

from __future__ import annotations

import re

from chatmail_milter.gate.errors import RefusedError

# RFC 3464, 2.1: fields as in RFC 822. A value longer than any diagnostic text would be a message in clear.
_FIELD = re.compile(r"([a-z][a-z0-9-]{0,76})[ \t]*:[ \t]*(.*)", re.IGNORECASE | re.DOTALL)
_VALUE_MOST = 4096
_FIELDS_MOST = 32
# RFC 3464, 2.3.3 and 2.3.4; RFC 3463, 2 has the form of a status code.
_ACTIONS = frozenset(("failed", "delayed", "delivered", "relayed", "expanded"))
_STATUS = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}[ \t]*(?:\(.*\))?", re.DOTALL)
_ACTION = re.compile(r"([a-z]+)[ \t]*(?:\(.*\))?", re.DOTALL)

Group = list[tuple[str, str]]


def check(octets: bytes) -> None:
    """Raises `RefusedError` unless `octets` (lines end with LF) are a delivery status."""
    groups = _groups(octets.decode("latin-1"))
    if len(groups) < 2 or not any(name == "reporting-mta" and value for name, value in groups[0]):
        raise RefusedError("report-status")
    for group in groups[1:]:
        actions = [value.lower() for name, value in group if name == "action"]
        statuses = [value for name, value in group if name == "status"]
        known = all((found := _ACTION.fullmatch(value)) and found[1] in _ACTIONS for value in actions)
        if not actions or not statuses or not known or not all(map(_STATUS.fullmatch, statuses)):
            raise RefusedError("report-status")


def _groups(text: str) -> list[Group]:
    """Groups of (lower-case name, value) pairs. Raises `RefusedError`."""
    groups: list[Group] = []
    fields: list[str] = []
    for line in (*text.split("\n"), ""):
        if not line.strip(" \t"):
            if fields:
                groups.append(_read(fields))
            fields = []
        elif line[0] in " \t":
            if not fields:
                raise RefusedError("report-status")
            fields[-1] += line
        else:
            fields.append(line)
    return groups


def _read(fields: list[str]) -> Group:
    found = [_FIELD.fullmatch(field) for field in fields]
    if len(fields) > _FIELDS_MOST:
        raise RefusedError("report-status")
    group: Group = []
    for matched in found:
        if matched is None or len(matched[2]) > _VALUE_MOST:
            raise RefusedError("report-status")
        group.append((matched[1].lower(), matched[2].strip(" \t")))
    return group
