"""The relay that all modules here share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.own_hosts.by_address.relay_by_address import BY_ADDRESS, playbook
from tests.e2e.own_hosts.whole import begin
from tests.lab import Lab, passing
from tests.lab.host import LabHost
from tests.lab.plan import UNNAMED


@pytest.fixture(scope="package")
def literal(hosts: Lab) -> Iterator[LabHost]:
    """Deployed by a run that was cut, and by the next one."""
    with passing.up(UNNAMED, hosts.paths) as host:
        # Our programs run by then, and nothing that they need.
        assert begin(hosts, host, "Write Dovecot's configuration", **BY_ADDRESS)
        host.run("systemctl is-active chatmail-milter")
        # Both runs are as operators start them.
        done = playbook(hosts, host, mitogen=False)
        assert done.returncode == 0, done.stdout
        yield host
