"""ansible-playbook: as an operator starts it, and as most tests do.

Most tests look at what a run changed or refused, not at how its tasks came to the host. They run it through
Mitogen, which keeps one Python on a host for the whole run, where Ansible starts one for each task. In
tests/e2e/own_hosts, a relay and the first part of a chat domain beside others are deployed as operators do.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
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
    with _started(playbook, inventory, *options, mitogen=mitogen, **variables) as process:
        out, errors = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, out, errors)


def cut(playbook: Path | str, inventory: Path, *options: str, before: str, **variables: Any) -> bool:
    """Run a playbook, and kill it as it comes to a task whose line has `before`. Whether it came so far."""
    with _started(playbook, inventory, *options, mitogen=False, **variables) as process:
        assert process.stdout is not None
        came = any(line.startswith("TASK ") and before in line for line in process.stdout)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        return came


def _started(
    playbook: Path | str, inventory: Path, *options: str, mitogen: bool, **variables: Any
) -> subprocess.Popen[str]:
    words = [PROGRAM, "-i", inventory, "--extra-vars", json.dumps(variables), *options, playbook]
    return subprocess.Popen(
        words,
        cwd=REPOSITORY / "ansible",  # its ansible.cfg
        env={**os.environ, "ANSIBLE_NOCOLOR": "1", "PYTHONUNBUFFERED": "1", **(MITOGEN if mitogen else {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
