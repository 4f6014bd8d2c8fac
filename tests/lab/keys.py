"""SSH between the machine and its lab: one key for the lab, a host key for each host, and who knows whom.

All of it is made when the lab comes up, for passing hosts too: several processes of tests read it at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.lab.command import run
from tests.lab.files import write_whole
from tests.lab.plan import HOSTS, PASSING, Host, Paths

CLIENT_KEY = "id_ed25519"


def ensure(paths: Paths) -> None:
    """Make the keys that are missing, known_hosts and the ssh configuration from them."""
    paths.ssh.mkdir(parents=True, exist_ok=True, mode=0o700)
    generate(paths.ssh / CLIENT_KEY)
    booting = [host for host in (*HOSTS, *PASSING) if host.boots]
    for host in booting:
        generate(host_key(paths, host))
    publics = {host: public(host_key(paths, host)) for host in booting}
    write_whole(paths.ssh / "known_hosts", known_hosts(publics))
    write_whole(paths.ssh_config, ssh_config(paths))


def host_key(paths: Paths, host: Host) -> Path:
    return paths.ssh / f"host-{host.name}"


def generate(private: Path) -> None:
    if not private.exists() or not private.with_suffix(".pub").exists():
        private.unlink(missing_ok=True)
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "chatmail-lab", "-f", private)


def public(private: Path) -> str:
    return private.with_suffix(".pub").read_text(encoding="ascii").strip()


def known_hosts(publics: Mapping[Host, str]) -> str:
    return "".join(f"{host.name},{host.domain},{host.ip} {key}\n" for host, key in publics.items())


def common_arguments(paths: Paths) -> list[str]:
    """The ssh options that reach any host of the lab, and read nothing of the caller's own configuration."""
    options = {
        "UserKnownHostsFile": paths.ssh / "known_hosts",
        "StrictHostKeyChecking": "yes",
        "PreferredAuthentications": "publickey",
        "IdentitiesOnly": "yes",
        "ConnectTimeout": 5,
    }
    return ["-F", "none", *(word for name, value in options.items() for word in ("-o", f"{name}={value}"))]


def ssh_config(paths: Paths) -> str:
    """For `ssh -F FILE a`."""
    entries = [f"Host {host.name} {host.domain}\n    HostName {host.ip}\n" for host in HOSTS if host.boots]
    return "".join(entries) + (
        "Host *\n    User root\n    IdentitiesOnly yes\n    StrictHostKeyChecking yes\n    LogLevel ERROR\n"
        f"    IdentityFile {paths.ssh / CLIENT_KEY}\n    UserKnownHostsFile {paths.ssh / 'known_hosts'}\n"
    )


def control_path(paths: Paths, address: str) -> Path:
    """The socket of the ssh process that keeps a connection to a host open for Ansible."""
    return paths.run / f"ssh-{address}"


def close_connections(paths: Paths, address: str = "*") -> None:
    """End the ssh processes that keep a connection open for Ansible: to that host, or to all."""
    for socket in paths.run.glob(control_path(paths, address).name):
        run("ssh", "-F", "none", "-o", f"ControlPath={socket}", "-O", "exit", "lab", check=False)
