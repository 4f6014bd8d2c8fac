"""The playbook, run on the relays as an operator would, with a line for each task as it comes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tests.lab import ansible, builder
from tests.lab.command import WITH_US, Progress
from tests.lab.errors import LabError
from tests.lab.plan import RELAYS, RELEASE, REPOSITORY, SUITES, Paths

PLAYBOOK = REPOSITORY / "ansible/site.yml"
TASK = re.compile(r"^(?:TASK|RUNNING HANDLER) \[(?P<name>.*)\] \**$")
OUTCOME = re.compile(r"^(?P<outcome>changed|fatal|failed): \[(?P<host>[^\] ]+)[^\]]*\]")
TROUBLE = ("fatal:", "failed:", "ERROR", "[ERROR]")
RECAP = re.compile(r"^(?P<host>\S+)\s+: (?P<counts>ok=\d.*)$")


@dataclass(frozen=True)
class Recap:
    """Ansible's own counts per host: ok, changed, unreachable, failed, …"""

    hosts: dict[str, dict[str, int]]

    @property
    def changed(self) -> int:
        return sum(counts["changed"] for counts in self.hosts.values())


@dataclass(frozen=True)
class PlaybookTask:
    """A task that has ended: its name and the hosts that it changed or that failed."""

    name: str
    changed: tuple[str, ...]
    failed: tuple[str, ...]

    def __str__(self) -> str:
        notes = [f"changed {', '.join(self.changed)}"] if self.changed else []
        notes += [f"FAILED on {', '.join(self.failed)}"] if self.failed else []
        return f"{self.name}{': ' if notes else ''}{'; '.join(notes)}"


def steps(lines: Iterable[str]) -> Iterator[PlaybookTask]:
    """Tasks out of the lines of ansible-playbook's default output, each when it has ended."""
    name: str | None = None
    changed: dict[str, None] = {}
    failed: dict[str, None] = {}
    for line in lines:
        if (task := TASK.match(line)) or line.startswith("PLAY RECAP"):
            if name is not None:
                yield PlaybookTask(name, tuple(changed), tuple(failed))
            name, changed, failed = (task["name"] if task else None), {}, {}
        elif outcome := OUTCOME.match(line):
            (changed if outcome["outcome"] == "changed" else failed)[outcome["host"]] = None


def recap(text: str) -> Recap:
    """The counts at the end of ansible-playbook's output."""
    found = {}
    for line in text.partition("PLAY RECAP")[2].splitlines():
        if match := RECAP.match(line):
            pairs = (pair.split("=") for pair in match["counts"].split())
            found[match["host"]] = {name: int(count) for name, count in pairs}
    return Recap(found)


def must_be_of_this_tree(*arguments: str) -> None:
    """Raises `LabError` unless the package that the playbook installs is of the sources as they are."""
    done = subprocess.run(
        [sys.executable, "-m", "deb", "--check", *arguments],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise LabError(done.stderr.strip())


def must_be_of_this_tree_on(release: str, paths: Paths) -> None:
    """The same of the package for another release, which can be told on that release only."""
    suite = SUITES[release]
    there = builder.root(paths, suite).is_dir()
    if (
        not there
        or builder.run(paths, suite, [f".venv-{release}/bin/python", "-m", "deb", "--check"]).returncode
    ):
        raise LabError(f"run `make deb-{release}`: there is no package of this tree for Debian {release}")


def deploy(paths: Paths, progress: Progress, *, mitogen: bool = False) -> Recap:
    """Run the playbook; all that it says is in the log `deploy`. Raises `LabError`.

    `mitogen`: as most tests run it, and not as an operator does; in half of the time.
    """
    if not ansible.PROGRAM.exists():
        raise LabError("run `make .venv/ready`: ansible-playbook is not beside this Python")
    must_be_of_this_tree()
    for release in sorted({host.release for host in RELAYS} - {RELEASE}):
        must_be_of_this_tree_on(release, paths)
    environment = {
        **os.environ,
        "ANSIBLE_STDOUT_CALLBACK": "default",
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_DISPLAY_SKIPPED_HOSTS": "0",
        "PYTHONUNBUFFERED": "1",
        **(ansible.MITOGEN if mitogen else {}),
    }
    log = paths.log / "deploy"
    began = time.monotonic()
    with (
        log.open("w", encoding="utf-8") as file,
        subprocess.Popen(
            [*WITH_US, ansible.PROGRAM, "-i", paths.inventory, PLAYBOOK],
            cwd=PLAYBOOK.parent,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process,
    ):
        assert process.stdout is not None

        def copied(lines: Iterable[str]) -> Iterator[str]:
            telling = False  # a failure's details follow it, up to an empty line
            for line in lines:
                file.write(line)
                telling = line.startswith(TROUBLE) or (telling and line.startswith(" "))
                if telling:
                    progress(line.rstrip())
                yield line.rstrip("\n")

        for step in steps(copied(process.stdout)):
            progress(str(step))
    if process.returncode:
        raise LabError(f"read {log}: the playbook ended with {process.returncode}")
    counts = recap(log.read_text(encoding="utf-8"))
    if set(counts.hosts) != {host.domain for host in RELAYS}:
        raise LabError(f"read {log}: the playbook did not look at both relays")
    progress(f"deployed in {time.monotonic() - began:.0f} s, {counts.changed} changes")
    return counts
