"""`new`: a second host for `_a.lab`, with the programs and configuration of the first and without its data.

No part of the lab that others use: a module of tests boots it. Its files are a copy of the first host's; what
the playbook makes only once is made anew, which takes seconds where the playbook takes a minute.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab import passing
from tests.lab.errors import LabError
from tests.lab.host import LabHost
from tests.lab.plan import NEW, PROGRAMS, Paths

SERVICES = "chatmail.target dovecot opendkim postfix nginx"

# Below its root: what is not copied.
LEFT_OUT = (
    "etc/machine-id",
    "var/backups/*",
    "var/lib/chatmail/*",
    "var/lib/postfix/*",
    "var/log/journal/*",
    "var/vmail/*",
    *(f"var/spool/postfix/{queue}/*" for queue in ("active", "bounce", "defer", "deferred", "incoming")),
)
# What the playbook makes once; all else is the same on each host of a relay.
_BARE = f"""
set -eu
# With each unit of ours: systemctl does not wait for those that only stop with their target.
systemctl stop {SERVICES} $(systemctl show --property=ConsistsOf --value chatmail.target)
rm -rf /var/vmail/* /var/lib/chatmail/* /etc/opendkim/keys/* /etc/chatmail/*.key /etc/chatmail/*.secret
{PROGRAMS.removesuffix("/bin")}/prepare
install --mode=0660 --group=chatmail /dev/null /var/lib/chatmail/store.sqlite
opendkim-genkey --bits=2048 --domain={NEW.domain} --selector=chatmail --directory=/etc/opendkim/keys
chown opendkim:opendkim /etc/opendkim/keys/*.private
cd /etc/chatmail/tls
openssl req -x509 -newkey rsa:2048 -noenc -subj /CN={NEW.domain} -keyout privkey.pem -out fullchain.pem
systemctl start {SERVICES}
"""
_SOME_CHANGED = 1  # tar(1): a file changed while it was read


@contextmanager
def up(paths: Paths, relay: LabHost) -> Iterator[LabHost]:
    """The host, booted for as long as the block runs. The rest of the lab is up; `relay` is copied."""
    with passing.up(
        NEW, paths, beneath=lambda layer: _copy(paths.root(relay.host).with_name("upper"), layer)
    ) as host:
        lay_bare(host)
        yield host


def lay_bare(host: LabHost) -> None:
    """Take away store, mail, keys and certificate, and make those that a new relay has."""
    # All services stop and start: on a busy machine for longer than a command may take.
    host.run(_BARE, timeout=600)


def _copy(layer: Path, to: Path) -> None:
    """The layer of a host that is up, with what overlayfs notes in attributes, without `LEFT_OUT`."""
    to.mkdir(parents=True)
    words = ["tar", "--xattrs", "--xattrs-include=*", "--acls", "--directory"]
    left_out = [f"--exclude=./{one}" for one in LEFT_OUT]
    options = ["--anchored", "--warning=no-file-ignored", *left_out]
    with subprocess.Popen([*words, layer, *options, "--create", "."], stdout=subprocess.PIPE) as reading:
        subprocess.run([*words, to, "--preserve-permissions", "--extract"], stdin=reading.stdout, check=True)
    if reading.returncode not in (0, _SOME_CHANGED):
        raise LabError(f"look above: tar could not read {layer}")
