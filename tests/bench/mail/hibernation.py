"""Dovecot of a relay as we deploy it, or with the stock setting: what puts idling clients to sleep is off.

Nothing else differs: same limits, same processes kept, same programs that are told of deliveries.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tests.chat import relay
from tests.chat.imap import capabilities
from tests.lab.host import LabHost
from tests.lab.wait import until

SETTING = "imap_hibernate_timeout"
_CONF = "/etc/dovecot/dovecot.conf"
_ASIDE = f"{_CONF}.before-bench"
_READY = 30.0  # seconds for Dovecot to greet
# Accounts that stay in the lab for the next run: a thousand more each time would make it another lab.
_NAME, _PASSWORD = "idle{:04}", "bench-of-the-idle"


@contextmanager
def changeable(hosts: Sequence[LabHost]) -> Iterator[None]:
    """`switch` may be used; Dovecot is as it was afterwards."""
    try:
        for host in hosts:
            host.run(["cp", "-a", _CONF, _ASIDE])
        yield
    finally:
        for host in hosts:
            host.run(f"if [ -e {_ASIDE} ]; then mv {_ASIDE} {_CONF}; systemctl restart dovecot; fi")


def switch(host: LabHost, *, sleeps: bool) -> None:
    """Start Dovecot anew: idling clients are put to sleep as deployed, or never (Dovecot's default)."""
    edit = "" if sleeps else f"sed -i 's/^{SETTING} = .*/{SETTING} = 0/' {_CONF};"
    host.run(f"cp -a {_ASIDE} {_CONF}; {edit} systemctl restart dovecot")
    until(lambda: _greets(host), _READY, f"read the journal of {host.domain}: no IMAP after a restart")


def accounts(host: LabHost, count: int) -> list[tuple[str, str]]:
    """So many logins. Their hashes are cheap, so that the processors are not busy with passwords."""
    salt = secrets.token_bytes(8)
    digest = hashlib.sha256(_PASSWORD.encode() + salt).digest()
    account = {
        "password_hash": "{SSHA256}" + base64.b64encode(digest + salt).decode(),
        "created": "2026-01-01",
    }
    names = [f"{_NAME.format(number)}@{host.domain}" for number in range(count)]
    lines = (json.dumps({"address": name, **account}) + "\n" for name in names)
    relay.operate(host, "account", "import", "-", input="".join(lines))
    return [(name, _PASSWORD) for name in names]


def connections(host: LabHost) -> int:
    """How many IMAP connections Dovecot counts."""
    return len(host.run("doveadm -f tab who -1").stdout.splitlines()[1:])


def _greets(host: LabHost) -> bool:
    try:
        return bool(capabilities(host.ip))
    except OSError:
        return False
