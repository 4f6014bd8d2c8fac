"""The two relays as the trials need them: ten domains more at each, accounts, and a queue in a hurry.

To Postfix the domains are its own as much as `_a.lab` and `_b.lab` are; Dovecot takes the relay's domain for
theirs, so all that is asked about recipients is asked and answered as ever. DNS sends their mail to the
relay's host. What was deferred is tried again within seconds instead of minutes, by Postfix itself: nobody
flushes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tests.chat import relay
from tests.chat.imap import ImapMailbox
from tests.chat.person import fresh_address, fresh_password
from tests.faults.mail import AT, hosted
from tests.lab import Lab
from tests.lab.host import LabHost
from tests.lab.plan import BY_NAME, RELAYS

# As many messages as one user may submit at once are ten.
WRITERS = 25

HURRY = {"queue_run_delay": "5s", "minimal_backoff_time": "5s", "maximal_backoff_time": "20s"}

_MAIN_CF, _DOVECOT_CONF = "/etc/postfix/main.cf", "/etc/dovecot/dovecot.conf"
_ASIDE = ".before-faults"


@dataclass(frozen=True)
class Arrangement:
    """`logins`: password by address. `writers`: addresses by relay. `readers`: one address in each domain."""

    lab: Lab
    logins: Mapping[str, str]
    writers: Mapping[str, Sequence[str]]
    readers: Mapping[str, str]

    @property
    def hosts(self) -> tuple[LabHost, LabHost]:
        return self.lab.host("a"), self.lab.host("b")


@contextlib.contextmanager
def arranged(lab: Lab, writers: int = WRITERS) -> Iterator[Arrangement]:
    """Both relays so, and as they were afterwards."""
    hosts = [lab.host(one.name) for one in RELAYS]
    records = lab.paths.signers_records.with_name("faults.zone")
    lines = [f"{domain}. MX 10 {BY_NAME[at].domain}.\n" for domain, at in AT.items()]
    try:
        records.write_text("".join(lines), encoding="ascii")
        lab.publish()
        for host in hosts:
            _change(host)
        yield Arrangement(lab, *_people(hosts, writers))
    finally:
        for host in hosts:
            _put_back(host)
        records.unlink(missing_ok=True)
        lab.publish()


def _change(host: LabHost) -> None:
    domains = " ".join([host.domain, *hosted(host.name)])
    settings = {"virtual_mailbox_domains": domains, **HURRY}
    host.run(f"for file in {_MAIN_CF} {_DOVECOT_CONF}; do cp -a $file $file{_ASIDE}; done")
    host.run(["postconf", "-e", *(f"{name} = {value}" for name, value in settings.items())])
    one_domain = f"s/^auth_username_format = .*/auth_username_format = %Ln@{host.domain}/"
    host.run(["sed", "-i", one_domain, _DOVECOT_CONF])
    # The queues are watched until they are empty: of what others left nobody will ever be told.
    host.run("systemctl restart dovecot postfix; postsuper -d ALL")


def _put_back(host: LabHost) -> None:
    for file in (_MAIN_CF, _DOVECOT_CONF):
        host.run(f"if [ -e {file}{_ASIDE} ]; then mv {file}{_ASIDE} {file}; fi")
    host.run("systemctl restart dovecot postfix")
    relay.forget_endpoints(host)


def _people(
    hosts: Sequence[LabHost], writers: int
) -> tuple[dict[str, str], dict[str, list[str]], dict[str, str]]:
    """Accounts, made by their first logins: passwords, writers by relay, readers by domain."""
    logins: dict[str, tuple[str, str]] = {}
    written_by: dict[str, list[str]] = {}
    readers: dict[str, str] = {}
    for host in hosts:
        written_by[host.name] = [fresh_address(host.domain, "wr") for _ in range(writers)]
        readers |= {domain: fresh_address(domain, "rd") for domain in hosted(host.name)}
        accounts = [readers[domain].partition("@")[0] + f"@{host.domain}" for domain in hosted(host.name)]
        logins |= {name: (host.ip, fresh_password()) for name in [*written_by[host.name], *accounts]}
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(_log_in, logins.items()))
    return {name: password for name, (_, password) in logins.items()}, written_by, readers


def _log_in(account: tuple[str, tuple[str, str]]) -> None:
    address, (ip, password) = account
    with ImapMailbox(ip, address, password):
        pass
