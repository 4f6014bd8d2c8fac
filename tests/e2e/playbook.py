"""Runs the playbook again on a relay of the lab, as an operator does."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from tests.lab import Lab, ansible
from tests.lab.deployment import PLAYBOOK
from tests.lab.host import LabHost


def playbook(
    lab: Lab, host: LabHost, *options: str, of: Path | str = PLAYBOOK, **variables: Any
) -> subprocess.CompletedProcess[str]:
    """Run it on one host with more variables."""
    return ansible.play(of, lab.paths.inventory, "--limit", host.domain, *options, **variables)


def words(done: subprocess.CompletedProcess[str]) -> str:
    """What it said, in one line: the output breaks lines."""
    return " ".join(done.stdout.split())
