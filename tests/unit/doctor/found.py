"""What a check found, by what it looked at."""

from __future__ import annotations

from collections.abc import Iterable

from chatmail_milter.doctor import Finding, FindingState


def states(findings: Iterable[Finding]) -> dict[str, FindingState]:
    """What needs doing says why and how; what doesn't says neither."""
    found = list(findings)
    for one in found:
        assert bool(one.why) == (one.state is not FindingState.GOOD), one
        assert bool(one.mend) == (one.state in (FindingState.BAD, FindingState.SOON)), one
    return {one.what: one.state for one in found}
