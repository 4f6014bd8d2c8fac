"""`mta.lab`: a host that speaks nothing but SMTP. Stock Postfix, local mailboxes, a certificate.

It stands for the rest of the mail world: it offers TLS, signs what its own users write (OpenDKIM) and nothing
else, and delivers what it is given to /home/USER/Maildir.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.lab import ca, container, signers
from tests.lab.command import run
from tests.lab.plan import BY_NAME, NETWORK, Paths

HOST = BY_NAME["mta"]
USERS = ("reader", "carol")

MAIN_CF = f"""\
compatibility_level = 3.6
myhostname = {HOST.domain}
mydestination = {HOST.domain}
mynetworks = 127.0.0.0/8 {NETWORK}
inet_interfaces = all
inet_protocols = ipv4
home_mailbox = Maildir/
alias_maps =
alias_database =
message_size_limit = 52428800
mailbox_size_limit = 0
smtpd_tls_security_level = may
smtpd_tls_chain_files = /etc/postfix/lab.key, /etc/postfix/lab.crt
smtp_tls_security_level = may
smtp_tls_CAfile = /etc/ssl/certs/ca-certificates.crt
# Tests look at what happens to a message within seconds.
minimal_backoff_time = 2s
queue_run_delay = 2s
smtpd_client_connection_rate_limit = 0
# It greets whether or not the lab's name server is quick.
smtpd_peername_lookup = no
smtpd_milters = inet:127.0.0.1:8891
milter_default_action = tempfail
"""

OPENDKIM_CONF = f"""\
UserID            opendkim
Socket            inet:8891@127.0.0.1
PidFile           /run/opendkim/opendkim.pid
Syslog            yes
Mode              s
InternalHosts     0.0.0.0/0
Domain            {HOST.domain}
Selector          {signers.SELECTOR}
KeyFile           /etc/dkimkeys/{HOST.domain}.private
Canonicalization  relaxed/simple
OverSignHeaders   from
"""


def furnish(root: Path, paths: Paths) -> None:
    """Make the host in `root`, not yet booted, this one."""
    certificate, key = ca.issue(paths.ca, [HOST.domain])
    postfix = root / "etc/postfix"
    container.write(postfix / "main.cf", MAIN_CF)
    shutil.copy(certificate, postfix / "lab.crt")
    shutil.copy(key, postfix / "lab.key")
    (postfix / "lab.key").chmod(0o600)
    container.write(root / "etc/opendkim.conf", OPENDKIM_CONF)
    signing = root / f"etc/dkimkeys/{HOST.domain}.private"
    shutil.copy(signers.private_key(paths, HOST.domain), signing)
    run("chroot", root, "chown", "opendkim:opendkim", f"/etc/dkimkeys/{HOST.domain}.private")
    signing.chmod(0o600)
    for user in USERS:
        if f"\n{user}:" not in (root / "etc/passwd").read_text(encoding="utf-8"):
            run("chroot", root, "useradd", "--create-home", "--shell", "/bin/sh", user)
    run("systemctl", f"--root={root}", "enable", "postfix.service", "opendkim.service")
