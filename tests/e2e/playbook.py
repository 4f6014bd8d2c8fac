"""Runs the playbook again on a relay of the lab, as an operator does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.lab import Lab
from tests.lab.deployment import PLAYBOOK
from tests.lab.host import LabHost


def playbook(
    lab: Lab, host: LabHost, *options: str, of: Path | str = PLAYBOOK, **variables: Any
) -> subprocess.CompletedProcess[str]:
    """Run it on one host with more variables."""
    return subprocess.run(
        [
            Path(sys.executable).with_name("ansible-playbook"), "-i", lab.paths.inventory,
            "--limit", host.domain, "--extra-vars", json.dumps(variables), *options, of,
        ],
        cwd=PLAYBOOK.parent, env={**os.environ, "ANSIBLE_NOCOLOR": "1"}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def words(done: subprocess.CompletedProcess[str]) -> str:
    """What it said, in one line: the output breaks lines."""
    return " ".join(done.stdout.split())
