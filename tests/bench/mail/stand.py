"""What stands beside the second Postfix: milters of several kinds, a proxy, a DKIM verifier.

Each runs on the relay, under its own Python and its own libraries, in a control group of its own; only the
proxy, of which a relay has nothing, runs under ours, in the relay's network.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from chatmail_milter.store.engine import open_store
from chatmail_milter.store.policies import Blocks
from tests.bench.mail import nothing
from tests.bench.mail.group import ControlGroup
from tests.lab import Lab
from tests.lab.plan import PROGRAMS, REPOSITORY
from tests.lab.wait import until
from tests.milter_client import MilterClient, wait_for

HERE = "/var/lib/chatmail-bench"  # on the relay
READY = 20.0  # seconds for a program to listen

OPENDKIM_OWN = ("Socket", "UMask", "UserID", "PidFile")


@dataclass(frozen=True)
class Stages:
    """What a milter negotiates: SMFIP_* bits, and the macros that it wants by stage number."""

    steps: int
    macros: dict[int, str]

    @property
    def plain(self) -> Stages:
        """The same stages as pymilter has them by itself: each answered, with the macros of Postfix's own."""
        return Stages(self.steps & ~sum(nothing.NO_REPLY.values()), {})


@dataclass(frozen=True)
class RunningMilter:
    """A running milter: its group, and what Postfix calls it."""

    group: ControlGroup
    address: str


class Stand:
    """On the relay _a.lab. Leaving the context ends all of it."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.host = lab.host("a")
        self.log = lab.paths.log / "bench"
        self.outside = self.host.paths.root(self.host.host) / HERE.lstrip("/")
        self._stack = ExitStack()

    def __enter__(self) -> Stand:
        self.host.run(f"rm -rf {HERE}; mkdir -p {HERE}")
        shutil.copy(nothing.__file__, self.outside / "nothing.py")
        self._stack.callback(self.host.run, f"rm -rf {HERE}", check=False)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def group(self, name: str) -> ControlGroup:
        return self._stack.enter_context(ControlGroup(self.host, name))

    def ours(self, name: str = "ours", blocked: Sequence[str] = ()) -> RunningMilter:
        """chatmail-milter as it is installed, with a store of its own that has these blocklist entries."""
        engine = open_store(f"sqlite:///{self.outside}/{name}.sqlite")
        if blocked:
            Blocks(engine).add(blocked)
        engine.dispose()
        # The domain is the name that the relay's OpenDKIM puts on its findings.
        config = f'[mail]\ndomain = "{self.host.domain}"\n\n[store]\nurl = "sqlite:///{HERE}/{name}.sqlite"\n'
        (self.outside / f"{name}.toml").write_text(config, encoding="utf-8")
        program = f"{PROGRAMS}/chatmail-milter --socket unix:{HERE}/{name}.sock"
        return self._milter(name, f"CHATMAIL_CONFIG={HERE}/{name}.toml exec {program}")

    def nothing(self, name: str, stages: Stages, *, processes: int = 1, tcp: int = 0) -> RunningMilter:
        """A milter that does nothing, at the stages given; on a TCP port if one is given."""
        where = f"inet:{tcp}@127.0.0.1" if tcp else f"unix:{HERE}/{name}.sock"
        command = (
            f"exec {PROGRAMS}/python {HERE}/nothing.py {where} --steps {stages.steps} "
            f"--processes {processes} --macros '{json.dumps(stages.macros)}'"
        )
        return self._milter(name, command, tcp)

    def stages(self, milter: RunningMilter) -> Stages:
        """What a milter negotiates with Postfix."""
        with MilterClient(self._socket(milter.address)) as client:
            return Stages(client.agreed_steps, client.macros_wanted)

    def opendkim(self) -> RunningMilter:
        """The relay's OpenDKIM, but its own process and socket."""
        lines = self.host.run("cat /etc/opendkim.conf").stdout.splitlines()
        kept = [line for line in lines if not line.startswith(OPENDKIM_OWN)]
        (self.outside / "opendkim.conf").write_text("\n".join(kept) + "\nUMask 000\n", encoding="utf-8")
        options = f"-f -x {HERE}/opendkim.conf -p local:{HERE}/opendkim.sock -P {HERE}/opendkim.pid"
        return self._milter("opendkim", f"exec opendkim {options}")

    def proxy(self, port: int, next_port: int) -> ControlGroup:
        """The proxy, listening on `port`; it hands on to `next_port`."""
        group = self.group("proxy")
        words = [sys.executable, "-m", "tests.bench.mail.proxy", str(port), str(next_port)]
        group.start(group.beside(words), self.log, cwd=REPOSITORY)
        self.await_greeting(port)
        return group

    def await_greeting(self, port: int) -> None:
        """Wait until an SMTP server on the relay's loopback greets."""
        words = ["bash", "-c", f"read -t 1 line </dev/tcp/127.0.0.1/{port} && echo $line"]
        self._await(lambda: self.host.run(words, check=False).stdout.startswith("220"), f"port {port}")

    def _milter(self, name: str, command: str, tcp: int = 0) -> RunningMilter:
        group = self.group(name)
        # Postfix's smtpd is not root, and must get at the socket.
        group.start(group.inside(f"umask 0; {command}"), self.log)
        if tcp:
            words = ["bash", "-c", f"</dev/tcp/127.0.0.1/{tcp}"]
            self._await(lambda: self.host.run(words, check=False).returncode == 0, f"port {tcp}")
            return RunningMilter(group, f"inet:127.0.0.1:{tcp}")
        address = f"unix:{HERE}/{name}.sock"
        self._await(Path(self._socket(address)).exists, name)
        wait_for(self._socket(address))
        return RunningMilter(group, address)

    def _socket(self, address: str) -> str:
        """The path out here of a unix socket on the relay."""
        return str(self.outside / Path(address.removeprefix("unix:")).name)

    def _await(self, ready: Callable[[], bool], what: str) -> None:
        until(ready, READY, f"read {self.log}: {what} does not listen after {READY:.0f} s")
