"""What holds for all tests: Hypothesis too counts examples and no seconds, and `pytest -n 3` has one lab.

By itself Hypothesis fails an example that takes 0.2 s, and a test whose inputs take long to make: a busy
machine was enough for that.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


class LabAndRest(LoadScopeScheduling):  # type: ignore[misc]  # xdist publishes no types
    """One process runs what needs the relays, in order, one what boots hosts of its own, and one the rest.

    The first to end is the last of them: it boots the relay without a name then.
    """

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith("tests/e2e/own_hosts/"):
            return "a relay by address" if "/by_address/" in nodeid else "own hosts"
        return "lab" if nodeid.startswith("tests/e2e/") else "rest"


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LabAndRest:
    return LabAndRest(config, log)


def pytest_collection_finish() -> None:
    """Freeze what is loaded, thousands of tests too: else each full collection of garbage walks it all."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="module")
def _umask() -> Iterator[None]:
    """What sets it in the process of the tests, as `chatmailctl` does, sets it for one module only."""
    before = os.umask(0o022)
    os.umask(before)
    yield
    os.umask(before)
