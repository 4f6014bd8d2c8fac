"""One container of the image, as `podman run` would make it, in a network namespace of the lab.

`create` and `remove` are for the container, which is an overlay on the image; `start` and `stop` are for what
runs in it. Volumes are directories that stay. A new one begins with what the image has in its place, as a
named volume of podman does.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from tests.container import image
from tests.lab import cgroup, container, network, nspawn, process
from tests.lab.command import run
from tests.lab.deployment import Recap, recap
from tests.lab.errors import LabError
from tests.lab.host import LabHost
from tests.lab.plan import Host, Paths
from tests.lab.wait import until

HOST = Host("box", "_box.lab", "10.77.0.61", boots=True)
UNIT = "chatmail-playbook"
# What docs/container.md adds to the capabilities of podman's containers (containers.conf(5)), and what
# systemd-nspawn would give besides (systemd-nspawn(1), --capability=).
ADDED = ("NET_ADMIN", "SYS_ADMIN", "SYS_CHROOT", "SYS_PTRACE")
DROPPED = (
    "AUDIT_CONTROL", "AUDIT_WRITE", "DAC_READ_SEARCH", "IPC_OWNER", "LEASE", "LINUX_IMMUTABLE", "MKNOD",
    "NET_BROADCAST", "NET_RAW", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TTY_CONFIG",
)  # fmt: skip
# Seconds: a first run of the playbook takes a minute or two, an orderly shutdown a few seconds.
PLAYBOOK, SHUTDOWN = 300.0, 60.0


class Box:
    def __init__(self, paths: Paths, root: Path) -> None:
        self.host = LabHost(HOST, paths)
        self._paths, self._image = paths, root
        self._volumes = paths.root(HOST).parents[1] / "box-volumes"

    def create(self) -> None:
        """A new container, with the volumes of the one before if there was one."""
        network.plug(HOST)
        root = container.mount(HOST, self._paths, self._image)
        container.write(root / "etc/hosts", f"127.0.0.1 localhost\n::1 localhost\n{HOST.ip} {HOST.domain}\n")
        for place in image.arguments("VOLUME"):
            volume = self.volume(place)
            if not volume.exists():
                volume.parent.mkdir(parents=True, exist_ok=True)
                run("cp", "--archive", self._image / place.lstrip("/"), volume)

    def volume(self, place: str) -> Path:
        """The directory that the container sees at `place`."""
        return self._volumes / place.strip("/").replace("/", "-")

    def start(self, environment: Mapping[str, str]) -> None:
        """Boot, and wait until the playbook has ended. Raises `LabError` unless it succeeded."""
        options = ["--drop-capability=" + ",".join(f"CAP_{name}" for name in DROPPED)]
        options += [f"--bind={self.volume(place)}:{place}" for place in image.arguments("VOLUME")]
        options += [f"--setenv={name}={value}" for name, value in environment.items()]
        container.boot(HOST, self._paths, *options)
        try:
            until(self.played, PLAYBOOK, "the playbook did not end")
            succeeded = self.property("Result") == "success"
        except LabError as error:
            raise LabError(f"{error}:\n{self.said()}") from None
        if not succeeded:
            raise LabError(self.said())

    def played(self) -> bool:
        """Whether the playbook of this boot has ended."""
        ended = self.property("ExecMainExitTimestampMonotonic")
        return ended.isdecimal() and ended != "0" and self.property("ActiveState") in ("inactive", "failed")

    def property(self, name: str) -> str:
        """A property of the playbook's unit; empty while systemd does not answer yet."""
        if container.leader(HOST, self._paths) is None:
            return ""
        show = ["systemctl", "show", f"--property={name}", "--value", UNIT]
        return self.host.run(show, check=False).stdout.strip()

    def said(self) -> str:
        """What the playbook said in this boot, and what the console shows of a boot that failed."""
        if container.leader(HOST, self._paths) is None:
            return (self._paths.log / f"{HOST.name}.console").read_text("utf-8", "replace")
        # The unit has ended before the journal has read its last lines.
        command = f"journalctl --sync; journalctl --boot --unit={UNIT} --output=cat --no-pager"
        return self.host.run(command, check=False).stdout

    def recap(self) -> Recap:
        """Ansible's counts of this boot's run: each of the unit's two playbooks has a host of its own."""
        found = recap(self.said())
        assert found.hosts, self.said()
        return found

    def stop(self) -> None:
        """Shut down in order, as `podman stop` does; the container stays."""
        process.stop(self._paths.process(HOST.name), SHUTDOWN)
        cgroup.remove(HOST)
        nspawn.forget(HOST.netns, self._paths.root(HOST))

    def remove(self) -> None:
        """The container goes; the volumes stay."""
        self.stop()
        container.unmount(HOST, self._paths)
        network.unplug(HOST)

    def forget(self) -> None:
        """The container goes, and its volumes too."""
        self.remove()
        shutil.rmtree(self._volumes, ignore_errors=True)
