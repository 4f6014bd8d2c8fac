"""What a check found, by what it looked at."""

from __future__ import annotations

from collections.abc import Iterable

from chatmail_milter.doctor import Finding, FindingState


def states(findings: Iterable[Finding]) -> dict[str, FindingState]:
    """What needs doing says why and how; what is good says neither."""
    found = list(findings)
    for one in found:
        assert bool(one.why) == (one.state is not FindingState.GOOD), one
        if one.state is not FindingState.UNKNOWN:
            assert bool(one.mend) == (one.state is not FindingState.GOOD), one
    return {one.what: one.state for one in found}
