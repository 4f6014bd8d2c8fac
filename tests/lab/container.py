"""A host's body: an overlay on the base, furnished with what is its own, booted by systemd-nspawn."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.lab import ca, cgroup, keys, network, nspawn, process
from tests.lab.command import run
from tests.lab.errors import LabError
from tests.lab.plan import HOSTS, Host, Paths
from tests.lab.wait import greeting, until

BOOT_DEADLINE = 40.0  # seconds; on two cores three hosts take about five


def mount(host: Host, paths: Paths, base: Path) -> Path:
    """Lay the host's own layer over the base; returns the root directory."""
    root = paths.root(host)
    upper, work = root.with_name("upper"), root.with_name("work")
    for directory in (root, upper, work):
        directory.mkdir(parents=True, exist_ok=True)
    if not root.is_mount():
        layers = f"lowerdir={base},upperdir={upper},workdir={work}"
        run("mount", "-t", "overlay", host.netns, "-o", layers, root)
    return root


def unmount(host: Host, paths: Paths) -> None:
    """Take the layer off and throw it away."""
    root = paths.root(host)
    while root.is_mount():
        run("umount", root)
    shutil.rmtree(root.parent, ignore_errors=True)


def furnish(host: Host, paths: Paths) -> None:
    """Write what makes it this host: its name, its keys, whom it trusts and whom it asks for names."""
    root = paths.root(host)
    names = "".join(f"{other.ip} {other.domain} {other.name}\n" for other in HOSTS if other is host)
    write(root / "etc/hostname", f"{host.name}\n")
    write(root / "etc/hosts", f"127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n{names}")
    (root / "etc/resolv.conf").unlink(missing_ok=True)
    write(root / "etc/resolv.conf", network.resolv_conf())
    write(root / "root/.ssh/authorized_keys", keys.public(paths.ssh / keys.CLIENT_KEY) + "\n", mode=0o600)
    private = keys.host_key(paths, host)
    write(root / "etc/ssh/ssh_host_ed25519_key", private.read_text(encoding="ascii"), mode=0o600)
    write(root / "etc/ssh/ssh_host_ed25519_key.pub", keys.public(private) + "\n")
    # No reverse names in the lab, so no waiting for them; and many short sessions at once.
    write(root / "etc/ssh/sshd_config.d/lab.conf", "UseDNS no\nMaxStartups 100\n")
    ca.trust(root, paths.ca / "root.crt")
    # Ansible's apt module takes the lists for fresh and asks no mirror, which there is none of.
    write(root / "var/lib/apt/periodic/update-success-stamp", "")


def write(file: Path, text: str, mode: int = 0o644) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    file.chmod(mode)


def boot(host: Host, paths: Paths, *options: str) -> None:
    """Start the host's systemd, detached. Returns before it is up. `options` are more of systemd-nspawn's."""
    argv = [
        "systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit", "--settings=no",
        f"--directory={paths.root(host)}", f"--machine={host.netns}", f"--hostname={host.name}",
        f"--network-namespace-path=/run/netns/{host.netns}", "--capability=CAP_NET_ADMIN",
        "--resolv-conf=off", "--timezone=off", "--link-journal=no", "--console=read-only",
        *options,
    ]  # fmt: skip
    process.start(argv, paths.process(host.name), paths.log / f"{host.name}.console", cgroup.make(host))


def await_ready(host: Host, paths: Paths) -> None:
    """Wait until the host has booted and its servers greet."""
    console = paths.log / f"{host.name}.console"

    def look() -> bool:
        if paths.process(host.name).exists() and process.alive(paths.process(host.name)) is None:
            raise LabError(f"read {console}: {host.name} stopped while it booted")
        return all(greeting(host.ip, port) for port in host.greets)

    try:
        until(look, BOOT_DEADLINE, f"read {console}: {host.name} does not greet after {BOOT_DEADLINE:.0f} s")
    except LabError as error:
        # The log goes when the lab is taken down, and whoever reads this may be a machine that does so.
        last = "\n".join(console.read_text(encoding="utf-8", errors="replace").splitlines()[-8:])
        raise LabError(f"{error}\n{last}") from None


def leader(host: Host, paths: Paths) -> int | None:
    """The process id, out here, of the host's own process 1."""
    supervisor = process.alive(paths.process(host.name))
    if supervisor is None:
        return None
    try:
        children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text(encoding="ascii")
        return int(children.split()[0])
    except (FileNotFoundError, ProcessLookupError, IndexError):
        return None


def enter(pid: int) -> list[str]:
    """The words that run a command inside the host with that leader, as root, with a clean environment."""
    return [
        "nsenter", f"--target={pid}", "--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wdns=/root",
        "env", "-i", "HOME=/root", "USER=root", "LANG=C.UTF-8", f"TERM={os.environ.get('TERM', 'dumb')}",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    ]  # fmt: skip


def shut(host: Host, paths: Paths) -> None:
    """End the host and all that ran in it. Its files are thrown away, so it need not shut down in order."""
    cgroup.remove(host)
    process.stop(paths.process(host.name), deadline=2.0)
    nspawn.forget(host.netns, paths.root(host))
