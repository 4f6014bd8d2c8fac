"""What the stack itself can do: the same Postfix and Dovecot packages on a relay's host, and none of our
parts.

TLS, logins, a queue, a Maildir, IDLE. One password for all, compared as a relay's are, or any; every address
of its domains has a mailbox; no milter, no signature, no quota, no policy. Settings that make the stack
itself quick are as the relay has them. Reached on the host's loopback. Second instances, beside the relay's
own, which go with their mail.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from chatmail_milter.accounts.credentials import hash_password
from tests.bench.mail.group import ControlGroup
from tests.bench.mail.instance import SERVICES
from tests.lab.host import LabHost
from tests.lab.wait import until

DOMAIN = "reference.lab"
SUBMISSIONS, IMAPS = 22465, 22993

_POSTFIX, _QUEUE, _DATA = (
    "/etc/postfix-reference",
    "/var/spool/postfix-reference",
    "/var/lib/postfix-reference",
)
_DOVECOT, _RUN, _STATE = "/etc/dovecot-reference", "/run/dovecot-reference", "/var/lib/dovecot-reference"
_MAIL = "/var/vmail-reference"
_ALL = (_POSTFIX, _QUEUE, _DATA, _DOVECOT, _RUN, _STATE, _MAIL)
_CERTIFICATE, _KEY = "/etc/chatmail/tls/fullchain.pem", "/etc/chatmail/tls/privkey.pem"
_START = 30.0  # seconds to greet, and to empty the queue

_MAIN_CF = f"""\
compatibility_level = 3.6
queue_directory = {_QUEUE}
data_directory = {_DATA}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = {DOMAIN}
mydestination =
local_recipient_maps =
alias_maps =
alias_database =
mynetworks =
virtual_mailbox_domains = DOMAINS
virtual_transport = lmtp:unix:private/dovecot-lmtp
lmtp_destination_concurrency_limit = 50
lmtp_initial_destination_concurrency = 20
smtpd_relay_restrictions = permit_sasl_authenticated, reject
smtpd_peername_lookup = no
smtpd_tls_chain_files = {_KEY}, {_CERTIFICATE}
smtpd_tls_auth_only = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = private/auth
enable_long_queue_ids = yes
"""

# What it takes, and no more; nothing is chrooted.
_MASTER_CF = f"""\
127.0.0.1:{SUBMISSIONS} inet n - n - 200 smtpd
  -o smtpd_tls_security_level=encrypt
  -o smtpd_tls_wrappermode=yes
  -o smtpd_tls_mandatory_protocols=>=TLSv1.3
  -o tls_config_file=/etc/postfix/tls_465.cnf
  -o tls_ssl_options=NO_TICKET
  -o smtpd_sasl_auth_enable=yes
{SERVICES}lmtp        unix  -  -  n  -     -  lmtp
"""

_DOVECOT_CONF = f"""\
instance_name = reference
base_dir = {_RUN}
state_dir = {_STATE}
protocols = imap lmtp
listen = 127.0.0.1
first_valid_uid = 100
mail_location = maildir:~/Maildir
namespace inbox {{
  inbox = yes
}}
auth_mechanisms = plain login
auth_username_chars =
# Delta Chat then uses it as it does a relay.
imap_capability = +XCHATMAIL
passdb {{
  driver = static
  args = PASSWORD
}}
userdb {{
  driver = static
  args = uid=vmail gid=vmail home={_MAIL}/%d/%n allow_all_users=yes
}}
service auth {{
  unix_listener {_QUEUE}/private/auth {{
    mode = 0600
    user = postfix
    group = postfix
  }}
}}
service lmtp {{
  unix_listener {_QUEUE}/private/dovecot-lmtp {{
    mode = 0600
    user = postfix
    group = postfix
  }}
}}
ssl = required
ssl_cert = <{_CERTIFICATE}
ssl_key = <{_KEY}
service imap-login {{
  inet_listener imap {{
    port = 0
  }}
  inet_listener imaps {{
    port = {IMAPS}
    ssl = yes
  }}
  service_count = 0
  process_min_avail = 2
}}
# Puts clients to sleep after 40 ms, as dovecot.conf explains, which tells them of most messages at once.
imap_hibernate_timeout = 42949673s
service imap {{
  service_count = 0
  process_min_avail = 2
  unix_listener imap-master {{
    user = $default_internal_user
  }}
}}
service imap-hibernate {{
  process_min_avail = 4
  unix_listener imap-hibernate {{
    mode = 0660
    group = vmail
  }}
}}
mail_max_userip_connections = 40
"""


@dataclass(frozen=True)
class Reference:
    """The stack, running; each half in a control group of its own."""

    postfix: ControlGroup
    dovecot: ControlGroup
    host: LabHost

    def drain(self) -> None:
        """Wait until the queue is empty."""
        queue = self.host.paths.root(self.host.host) / _QUEUE.lstrip("/")
        until(
            lambda: (
                not any(one.is_file() for name in ("incoming", "active") for one in (queue / name).rglob("*"))
            ),
            _START,
            f"see what stays in {queue}",
        )


@contextmanager
def running(host: LabHost, password: str | None, domains: Sequence[str] = (DOMAIN,)) -> Iterator[Reference]:
    """The stack on `host`, until the context is left.

    Every address at one of `domains` logs in with `password`; with any, if it is None.
    """
    root, log = host.paths.root(host.host), host.paths.log / "reference"
    host.run(["rm", "-rf", *_ALL])
    host.run(
        f"mkdir -p {_POSTFIX} {_QUEUE} {_DOVECOT} {_RUN} {_STATE} && install -d -o postfix {_DATA}"
        f" && install -d -o vmail -g vmail -m 0700 {_MAIL}"
    )
    known = "nopassword=y" if password is None else f"password={hash_password(password)}"
    for file, text in (
        (f"{_POSTFIX}/main.cf", _MAIN_CF.replace("DOMAINS", ", ".join(domains))),
        (f"{_POSTFIX}/master.cf", _MASTER_CF),
        (f"{_DOVECOT}/dovecot.conf", _DOVECOT_CONF.replace("PASSWORD", known)),
    ):
        (root / file.lstrip("/")).write_text(text, encoding="utf-8")
    with (
        ControlGroup(host, "reference-postfix") as postfix,
        ControlGroup(host, "reference-dovecot") as dovecot,
    ):
        try:
            # Makes the queue's directories, one of which Dovecot listens in.
            host.run(["postfix", "-c", _POSTFIX, "check"])
            dovecot.start(dovecot.inside(["dovecot", "-F", "-c", f"{_DOVECOT}/dovecot.conf"]), log)
            postfix.start(postfix.inside(["postfix", "-c", _POSTFIX, "start"]), log)
            for port in (SUBMISSIONS, IMAPS):
                until(partial(_listens, host, port), _START, f"read {log}: nothing on port {port}")
            yield Reference(postfix, dovecot, host)
        finally:
            host.run(["postfix", "-c", _POSTFIX, "abort"], check=False)
    host.run(["rm", "-rf", *_ALL])


def _listens(host: LabHost, port: int) -> bool:
    return host.run(["bash", "-c", f"</dev/tcp/127.0.0.1/{port}"], check=False).returncode == 0
