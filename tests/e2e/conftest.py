"""The lab, deployed once for all modules, and the people in it.

Takes the lab down again if it was this run that put it up, unless `KEEP=1`. Every test has a bound in time.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from typing import Any, cast

import pytest

from tests.chat import firewall, journal, relay
from tests.chat.core import Core
from tests.chat.deadline import deadline
from tests.chat.imap import new_account
from tests.chat.person import Person
from tests.chat.stage import Stage
from tests.e2e import doors
from tests.e2e.doors import Door
from tests.lab import Lab, LabError
from tests.lab.host import LabHost

# Against what hangs; a run of the playbook takes a minute or two.
TEST_SECONDS = 240.0

# Lines of each relay's journal in the report of a failure, and how many seconds before the test they begin.
LINES, BEFORE = 1000, 90.0

LAB = pytest.StashKey[Lab]()

Login = tuple[str, str]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here needs the lab."""
    for item in items:
        if "/tests/e2e/" in str(item.path):
            item.add_marker(pytest.mark.lab)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """The report of a failure shows what each relay logged, its queue, and its connections."""
    report = yield
    lab = item.config.stash.get(LAB, None)
    if report.failed and lab is not None:
        for name in ("a", "b"):
            host = lab.host(name)
            report.sections.append((f"of {host.domain}", _state(host, call.start - BEFORE)))
    return report


def _state(host: LabHost, since: float) -> str:
    try:
        said = journal.tail(host, since, LINES)
        return said + host.run("postqueue -p; ss --tcp --numeric --processes", check=False).stdout
    except (OSError, subprocess.SubprocessError, LabError) as error:
        return f"unknown: {error}"


@pytest.fixture(autouse=True)
def _bound(request: pytest.FixtureRequest) -> Iterator[None]:
    with deadline(request.node.name, TEST_SECONDS):
        yield


@pytest.fixture(scope="session")
def say(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """Shows a line as it comes: a lab takes minutes. What `pytest -n` starts has no terminal."""
    capture: Any = pytestconfig.pluginmanager.get_plugin("capturemanager")

    def say(text: str) -> None:
        with capture.global_and_fixture_disabled():
            print(f"  {text}", file=sys.stderr, flush=True)

    return say


@pytest.fixture(scope="session")
def hosts(say: Callable[[str], None]) -> Iterator[Lab]:
    """The lab, up. Another process of this run may use it too."""
    lab = Lab()
    with lab.in_use(say, keep=bool(os.environ.get("KEEP"))):
        yield lab


@pytest.fixture(scope="session")
def lab(hosts: Lab, say: Callable[[str], None], pytestconfig: pytest.Config) -> Lab:
    """The lab with both relays deployed from this tree."""
    pytestconfig.stash[LAB] = hosts
    for name in ("a", "b", "client"):
        firewall.reopen(hosts.host(name))
    hosts.deploy(say, mitogen=True)
    # As if nothing had been tried with the peers before.
    relay.forget_endpoints(hosts.host("a"))
    return hosts


@pytest.fixture(scope="module", autouse=True)
def _names_lead_where_they_did(hosts: Lab) -> Iterator[None]:
    """A module that publishes other DNS records takes them back: others would not find the relays."""
    before = _records(hosts)
    yield
    assert _records(hosts) == before


def _records(lab: Lab) -> dict[str, str]:
    return {file.name: file.read_text("utf-8") for file in lab.paths.signers_records.parent.glob("*.zone")}


@pytest.fixture(scope="session")
def stage(lab: Lab) -> Iterator[Stage]:
    """A running Delta Chat core in the client namespace."""
    with Core(lab.netns("client")) as core:
        yield Stage(lab, core)


@pytest.fixture(scope="session")
def a(lab: Lab) -> LabHost:
    """The relay _a.lab."""
    return lab.host("a")


@pytest.fixture(scope="session")
def b(lab: Lab) -> LabHost:
    """The relay _b.lab."""
    return lab.host("b")


@pytest.fixture(scope="session")
def mta(hosts: Lab) -> LabHost:
    """The SMTP-only host mta.lab."""
    return hosts.host("mta")


@pytest.fixture(scope="session")
def alice(stage: Stage, a: LabHost) -> Person:
    """Someone on _a.lab, who sees bounces."""
    alice = stage.newcomer(a.domain)
    alice.accept_cleartext()
    return alice


@pytest.fixture(scope="session")
def bob(stage: Stage, alice: Person, b: LabHost) -> Person:
    """Someone on _b.lab who is in contact with Alice."""
    bob = stage.newcomer(b.domain)
    stage.acquaint(alice, bob)
    return bob


# Each module has its own: what an account sends in a minute is limited, and a fast machine is quick.
@pytest.fixture(scope="module")
def writer(a: LabHost) -> Login:
    """An account on _a.lab that no core uses: for raw submissions."""
    return new_account(a)


@pytest.fixture(scope="module")
def reader(b: LabHost) -> Login:
    """An account on _b.lab that no core uses: its mail stays as it was delivered."""
    return new_account(b)


@pytest.fixture(params=doors.DOORS, ids=lambda door: door.__name__)
def door(request: pytest.FixtureRequest) -> Door:
    """Each of the two doors by which a stranger's mail comes in."""
    return cast(Door, request.param)


@pytest.fixture
def _https_afresh(a: LabHost) -> Iterator[None]:
    """Before and after, _a.lab knows of no peer without HTTPS."""
    relay.forget_endpoints(a)
    yield
    relay.forget_endpoints(a)
