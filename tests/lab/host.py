"""One host of a lab that is up: run commands in it, read its journal, cut a port off."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from typing import Any

from tests.chat.deadline import PATIENCE
from tests.lab import container, faults
from tests.lab.errors import LabError
from tests.lab.plan import Host, Paths


class LabHost:
    def __init__(self, host: Host, paths: Paths) -> None:
        self.name, self.domain, self.ip, self.netns = host.name, host.domain, host.ip, host.netns
        self.postfix = host.postfix
        self.host, self.paths = host, paths

    def words(self, command: str | Sequence[str]) -> list[str]:
        """The words that run a command there: a string by its shell, a sequence as it is."""
        inner = ["sh", "-c", command] if isinstance(command, str) else list(command)
        if not self.host.boots:
            return ["ip", "netns", "exec", self.netns, *inner]
        leader = container.leader(self.host, self.paths)
        if leader is None:
            raise LabError(f"run `python -m tests.lab up` first: {self.name} is not up")
        return [*container.enter(leader), *inner]

    def run(
        self,
        command: str | Sequence[str],
        *,
        check: bool = True,
        input: str | None = None,
        timeout: float = 120,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as root there; CalledProcessError when `check` and it fails.

        `timeout`: seconds where little else runs, as in tests/chat/deadline.py. A command that is given up
        still runs there, and holds its locks.
        """
        return subprocess.run(
            self.words(command),
            stdin=subprocess.DEVNULL if input is None else None,
            input=input,
            capture_output=True,
            text=True,
            errors="replace",
            check=check,
            timeout=timeout * PATIENCE,
        )

    def shell(self, command: Sequence[str]) -> int:
        """Become a shell there, or run one command with our own terminal; its exit code.

        A namespace alone has no sshd; everywhere else it is SSH, so that a terminal is a terminal."""
        if not self.host.boots:
            return subprocess.call(self.words(command or [os.environ.get("SHELL", "sh")]))
        return subprocess.call(["ssh", "-F", str(self.paths.ssh_config), self.name, *command])

    def sync_journal(self) -> None:
        """Return when journald has taken all that was logged until now: on a busy machine it may be late."""
        self.run(["journalctl", "--sync"])

    def cursor(self) -> str:
        """The journal's position now, for `journal(since=…)`: after all that was logged until now."""
        self.sync_journal()
        said = self.run(["journalctl", "--lines=0", "--show-cursor", "--quiet"]).stdout
        return said.partition("-- cursor: ")[2].strip()

    def journal(self, *arguments: str, since: str | None = None) -> Iterator[dict[str, Any]]:
        """Journal entries as journalctl's JSON has them; `arguments` are matches or options for it."""
        self.sync_journal()
        # Not --after-cursor: journalctl then leaves out the first entry that matches.
        begin = [f"--cursor={since}"] if since else []
        said = self.run(["journalctl", "--output=json", "--quiet", "--no-pager", *begin, *arguments]).stdout
        entries = (json.loads(line) for line in said.splitlines())
        return (one for one in entries if one["__CURSOR"] != since)

    def drop_port(self, port: int) -> None:
        """Let packets to a TCP port of this host vanish: who connects hangs."""
        faults.drop_port(self.host, port)

    def refuse_port(self, port: int) -> None:
        """Answer who connects to a TCP port of this host with a reset."""
        faults.refuse_port(self.host, port)

    def restore_port(self, port: int) -> None:
        """Undo `drop_port` or `refuse_port`."""
        faults.restore_port(self.host, port)

    def refuse_other_ports(self, port: int) -> None:
        """Let this host connect to one TCP port of others only, as behind some firewalls."""
        faults.refuse_others(self.host, port)

    def allow_other_ports(self) -> None:
        """Undo `refuse_other_ports`."""
        faults.allow_others(self.host)

    def lose_names(self) -> None:
        """Let the answers of name servers to this host vanish."""
        faults.lose_names(self.host)

    def find_names(self) -> None:
        """Undo `lose_names`."""
        faults.find_names(self.host)

    def unplug(self) -> None:
        """Pull the cable out."""
        faults.set_cable(self.host, "down")

    def plug(self) -> None:
        """Put the cable back in."""
        faults.set_cable(self.host, "up")
