"""ansible-playbook: as an operator starts it, and as most tests do.

Most tests look at what a run changed or refused, not at how its tasks came to the host. They run it through
Mitogen, which keeps one Python on a host for the whole run, where Ansible starts one for each task. The lab
itself, and a chat domain's first part beside other mail, are deployed as operators do.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import ansible_mitogen

from tests.lab.plan import REPOSITORY

PROGRAM = Path(sys.executable).with_name("ansible-playbook")
MITOGEN = {
    "ANSIBLE_STRATEGY": "mitogen_linear",
    "ANSIBLE_STRATEGY_PLUGINS": str(Path(ansible_mitogen.__file__).with_name("plugins") / "strategy"),
    # Seconds for a connection, in which Mitogen starts its Python, too. 10 are too few on a busy machine.
    "ANSIBLE_TIMEOUT": "120",
    # That Ansible will know no strategies but its own one day.
    "ANSIBLE_DEPRECATION_WARNINGS": "0",
}


def play(
    playbook: Path | str, inventory: Path, *options: str, mitogen: bool = True, **variables: Any
) -> subprocess.CompletedProcess[str]:
    """Run a playbook to its end. `variables` are more than the inventory has."""
    words = [PROGRAM, "-i", inventory, "--extra-vars", json.dumps(variables), *options, playbook]
    return subprocess.run(
        words,
        cwd=REPOSITORY / "ansible",  # its ansible.cfg
        env={**os.environ, "ANSIBLE_NOCOLOR": "1", **(MITOGEN if mitogen else {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
