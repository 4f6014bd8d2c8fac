"""A second Postfix on a relay: the relay's own main.cf, one smtpd service for each thing to compare.

It takes mail from this host only, writes it to its queue (fsync and all) and then throws it away by
discard(8): delivery is not measured. What else differs from the relay's own settings is said at OVERRIDES.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.mail.group import ControlGroup
from tests.bench.mail.stand import Stand
from tests.lab.host import LabHost
from tests.lab.wait import until

CONFIG = "/etc/postfix-bench"
QUEUE = "/var/spool/postfix-bench"
DATA = "/var/lib/postfix-bench"
DEADLINE = 30.0  # seconds for it to start, and to empty its queue

OVERRIDES = {
    "inet_interfaces": "127.0.0.1",
    "inet_protocols": "ipv4",
    # No mail is delivered; whom it is for does not matter.
    "virtual_mailbox_domains": "",
    "default_transport": "discard:",
    "virtual_transport": "discard:",
    "smtpd_recipient_restrictions": "",
    "smtpd_sender_restrictions": "",
    "mynetworks": "127.0.0.0/8",
    "smtpd_relay_restrictions": "permit_mynetworks, reject",
    # Each service says its own.
    "smtpd_milters": "",
    "non_smtpd_milters": "",
    # The same for all, and dear: it would hide what is compared.
    "smtpd_tls_security_level": "none",
    # Twenty senders make what the default takes for a flood, and Postfix would pause them a second.
    "in_flow_delay": "0",
    # A process that ends takes its count of context switches with it.
    "max_use": "1000000",
    "max_idle": "1h",
    "smtpd_client_connection_count_limit": "0",
}

# What a queue needs, and no more; nothing is chrooted.
SERVICES = """\
cleanup     unix  n  -  n  -     0  cleanup
qmgr        unix  n  -  n  300   1  qmgr
tlsmgr      unix  -  -  n  1000? 1  tlsmgr
rewrite     unix  -  -  n  -     -  trivial-rewrite
bounce      unix  -  -  n  -     0  bounce
defer       unix  -  -  n  -     0  bounce
trace       unix  -  -  n  -     0  bounce
proxymap    unix  -  -  n  -     -  proxymap
anvil       unix  -  -  n  -     1  anvil
error       unix  -  -  n  -     -  error
retry       unix  -  -  n  -     -  error
"""
_DISCARD = "discard     unix  -  -  n  -     -  discard\n"


@dataclass(frozen=True)
class LoopbackSmtpd:
    """An smtpd on a loopback port, with options of its own."""

    port: int
    options: Mapping[str, str]

    @property
    def lines(self) -> str:
        options = "".join(f"  -o {{{name} = {value}}}\n" for name, value in self.options.items())
        return f"127.0.0.1:{self.port} inet n - n - - smtpd\n{options}"


class Instance:
    """The second Postfix, running."""

    def __init__(self, host: LabHost, group: ControlGroup) -> None:
        self._host = host
        self._root = host.paths.root(host.host)
        self.group = group

    def drain(self) -> None:
        """Wait until the queue is empty."""
        queue = self._root / QUEUE.lstrip("/")
        until(lambda: not any(_files(queue)), DEADLINE, f"see what stays in {queue}")

    def release(self) -> None:
        """Let go what was put on hold, all at once."""
        self._host.run(f"postsuper -c {CONFIG} -H ALL && postqueue -c {CONFIG} -f")


@contextmanager
def running(
    stand: Stand, services: Sequence[LoopbackSmtpd], agents: str = "", **settings: str
) -> Iterator[Instance]:
    """Postfix with `services`, until the context is left. Its queue goes with it.

    `agents`: more lines of master.cf; `settings`: more of main.cf.
    """
    host = stand.host
    root = host.paths.root(host.host)
    config = root / CONFIG.lstrip("/")
    host.run(f"rm -rf {CONFIG} {QUEUE} {DATA}; cp -a /etc/postfix {CONFIG}")
    host.run(f"mkdir -p {QUEUE}; install -d -o postfix {DATA}")
    overrides = {"queue_directory": QUEUE, "data_directory": DATA, **OVERRIDES, **settings}
    host.run(["postconf", "-c", CONFIG, "-e", *(f"{name}={value}" for name, value in overrides.items())])
    lines = [SERVICES + _DISCARD, agents, *(each.lines for each in services)]
    (config / "master.cf").write_text("".join(lines), encoding="ascii")
    group = stand.group("postfix")
    group.start(group.inside(["postfix", "-c", CONFIG, "start"]), stand.log)
    try:
        for service in services:
            stand.await_greeting(service.port)
        yield Instance(host, group)
    finally:
        host.run(["postfix", "-c", CONFIG, "abort"], check=False)
        group.end()
        host.run(f"rm -rf {CONFIG} {QUEUE} {DATA}")


def _files(queue: Path) -> Iterator[Path]:
    for name in ("incoming", "active", "deferred"):
        yield from (path for path in (queue / name).rglob("*") if path.is_file())
