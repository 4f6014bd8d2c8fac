"""One milter for all tests of a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.blackbox.milter.installed_milter import InstalledMilter, running


@pytest.fixture(scope="module")
def milter() -> Iterator[InstalledMilter]:
    with running() as milter:
        yield milter
