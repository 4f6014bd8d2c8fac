"""The host `unnamed`, a whole relay with an address literal as its domain (RFC 5321, 4.1.3)."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from tests.e2e.own_hosts import whole
from tests.lab import Lab
from tests.lab.deployment import PLAYBOOK
from tests.lab.host import LabHost
from tests.lab.plan import UNNAMED

LITERAL = f"[{UNNAMED.ip}]"
# What it is deployed with: our example of a packet filter, too.
BY_ADDRESS: dict[str, Any] = {"chatmail_domain": LITERAL, "nftables_enabled": True}


def playbook(
    hosts: Lab, host: LabHost, *options: str, of: Path | str = PLAYBOOK, **variables: Any
) -> subprocess.CompletedProcess[str]:
    """Run a playbook on it, site.yml by default. `variables` replace those above, too."""
    return whole.deploy(hosts, host, *options, of=of, **{**BY_ADDRESS, **variables})
