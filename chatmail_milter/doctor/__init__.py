"""Checks of this relay, one file per subject, with findings as values. Checks change nothing.

`chatmailctl doctor` prints the findings. Checks get the host's data as arguments, so that tests need no host.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class FindingState(Enum):
    """`UNKNOWN`: could not be checked. `SOON`: will affect users. `BAD`: affects users now."""

    GOOD = "good"
    UNKNOWN = "unknown"
    SOON = "soon"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    """One result. `subject`: the check. `what`: the checked object. `found`: its state.

    If the state is not good, `why` it matters, and `mend`: the command or record that fixes it.
    """

    subject: str
    what: str
    state: FindingState
    found: str
    why: str = ""
    mend: str = ""


def good(subject: str, what: str, found: str) -> Finding:
    """A finding without anything to do."""
    return Finding(subject, what, FindingState.GOOD, found)


def unknown(subject: str, what: str, found: str) -> Finding:
    """A finding for an object that could not be checked, for the reason `found`."""
    return Finding(subject, what, FindingState.UNKNOWN, found, "a fault would not be found")
