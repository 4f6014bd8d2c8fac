"""Runs the playbook again on a relay of the lab, as an operator does."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.chat.deadline import until
from tests.lab import Lab, ansible
from tests.lab.deployment import PLAYBOOK
from tests.lab.host import LabHost


def playbook(
    lab: Lab, host: LabHost, *options: str, of: Path | str = PLAYBOOK, **variables: Any
) -> subprocess.CompletedProcess[str]:
    """Run it on one host with more variables."""
    return ansible.play(of, lab.paths.inventory, "--limit", host.domain, *options, **variables)


@contextmanager
def nginx_reads_its_files(host: LabHost) -> Iterator[None]:
    """Something in the block reloads nginx; it ends when nobody is served by the files before."""
    before = _takers(host)
    assert before, "nginx runs"
    yield
    # The order to reload is only a signal. For a while workers of before and after take connections.
    until("nginx has read its files", lambda: not before & _takers(host), 20)


def _takers(host: LabHost) -> set[str]:
    """nginx's workers that take connections, in contrast to those that end when they have served theirs."""
    return set(host.run(["pgrep", "--full", "^nginx: worker process$"], check=False).stdout.split())


def words(done: subprocess.CompletedProcess[str]) -> str:
    """What it said, in one line: the output breaks lines."""
    return " ".join(done.stdout.split())
