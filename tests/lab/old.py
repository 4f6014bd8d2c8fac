"""`old.lab`: a host that served mail before us, with Debian's own Postfix, Dovecot and nginx.

No part of the lab that others use: a module of tests boots it. Its domains are `old.lab` (system users,
local delivery) and `shop.lab` (virtual mailboxes, and a site on port 443); the zone has `_c.lab` at its
address too. What is written here is what an operator sets after `apt install`; all else is as Debian has it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab import ca, container, passing
from tests.lab.command import run
from tests.lab.host import LabHost
from tests.lab.plan import OLD, Paths

CHAT_DOMAIN = "_c.lab"
USER, VIRTUAL = "bob@old.lab", "ann@shop.lab"
PASSWORD = "correct horse battery"

MAIN_CF = """
# Of this host's operator.
home_mailbox = Maildir/
virtual_mailbox_domains = shop.lab
virtual_mailbox_base = /var/mail/virtual
virtual_mailbox_maps = inline:{ { ann@shop.lab = ann/ } }
virtual_uid_maps = static:5000
virtual_gid_maps = static:5000
smtpd_sasl_type = dovecot
smtpd_sasl_path = private/auth
# Tests look at what happens to a message within seconds.
minimal_backoff_time = 2s
queue_run_delay = 2s
smtpd_peername_lookup = no
"""
MASTER_CF = """
# Of this host's operator.
submissions inet n      -       y       -       -       smtpd
  -o syslog_name=postfix/submissions
  -o smtpd_tls_wrappermode=yes
  -o smtpd_sasl_auth_enable=yes
  -o smtpd_relay_restrictions=permit_sasl_authenticated,reject
"""
DOVECOT = """\
# Of this host's operator.
mail_location = maildir:~/Maildir
passdb {
  driver = passwd-file
  args = /etc/dovecot/virtual
}
userdb {
  driver = passwd-file
  args = /etc/dovecot/virtual
}
service auth {
  unix_listener /var/spool/postfix/private/auth {
    mode = 0660
    user = postfix
    group = postfix
  }
}
"""
SITE = "shop.lab"
PAGE = "Welcome to the shop.\n"
NGINX = f"""\
# Of this host's operator.
server {{
    listen 443 ssl;
    listen [::]:443 ssl;
    server_name {SITE};
    ssl_certificate /etc/ssl/shop.crt;
    ssl_certificate_key /etc/ssl/private/shop.key;
    root /var/www/shop;
    access_log /var/log/nginx/shop.log;
}}
"""


@contextmanager
def up(paths: Paths) -> Iterator[LabHost]:
    """The host, booted for as long as the block runs. The rest of the lab is up."""
    with passing.up(OLD, paths, furnish=lambda root: furnish(root, paths)) as host:
        # It copies its chroot first, on a busy machine for longer than the host takes to boot.
        host.run(["systemctl", "start", "postfix.service", "postfix@-.service"], timeout=600)
        yield host


def furnish(root: Path, paths: Paths) -> None:
    """What its operator did, long before us."""
    for place, text in (("main.cf", MAIN_CF), ("master.cf", MASTER_CF)):
        file = root / "etc/postfix" / place
        known = file.read_text(encoding="utf-8")
        for name, value in (("myhostname", OLD.domain), ("mydestination", f"{OLD.domain}, localhost")):
            known = "".join(
                f"{name} = {value}\n" if line.startswith(f"{name} =") else line
                for line in known.splitlines(keepends=True)
            )
        file.write_text(known + text, encoding="utf-8")
    container.write(root / "etc/dovecot/conf.d/50-operator.conf", DOVECOT)
    line = f"{VIRTUAL}:{{PLAIN}}{PASSWORD}:5000:5000::/var/mail/virtual/ann::userdb_mail=maildir:~/\n"
    container.write(root / "etc/dovecot/virtual", line)
    run("chroot", root, "useradd", "--uid", "5000", "--shell", "/usr/sbin/nologin", "virtual")
    run("chroot", root, "install", "-d", "-o", "virtual", "-g", "virtual", "/var/mail/virtual")
    certificate, key = ca.issue(paths.ca, [SITE])
    shutil.copy(certificate, root / "etc/ssl/shop.crt")
    shutil.copy(key, root / "etc/ssl/private/shop.key")
    container.write(root / "etc/nginx/sites-available/shop", NGINX)
    (root / "etc/nginx/sites-enabled/shop").symlink_to("../sites-available/shop")
    container.write(root / "var/www/shop/index.html", PAGE)
    hashed = run("openssl", "passwd", "-6", PASSWORD).stdout.strip()
    run("chroot", root, "useradd", "--create-home", "--shell", "/bin/sh", "--password", hashed, "bob")
    container.write(
        root / "etc/systemd/system/postfix@.service.d/lab.conf", "[Service]\nTimeoutStartSec=600\n"
    )
    units = ("dovecot.service", "nginx.service")
    run("systemctl", f"--root={root}", "enable", *units)
