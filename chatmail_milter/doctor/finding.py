"""The answer of a check. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class FindingState(Enum):
    """`GOOD`; `UNKNOWN`, could not be looked at; `SOON`, will be bad; `BAD`, hurts users now."""

    GOOD = "good"
    UNKNOWN = "unknown"
    SOON = "soon"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `subject` is the check, `what` the thing, `found` what is there.

    Of what is not good, `why` it matters, and `mend`: the command or the record that mends it.
    """

    subject: str
    what: str
    state: FindingState
    found: str
    why: str = ""
    mend: str = ""


def good(subject: str, what: str, found: str) -> Finding:
    """Nothing needs doing."""
    return Finding(subject, what, FindingState.GOOD, found)


def unknown(subject: str, what: str, found: str) -> Finding:
    """It could not be looked at, as `found` says."""
    return Finding(subject, what, FindingState.UNKNOWN, found, "a fault here would go unnoticed")
