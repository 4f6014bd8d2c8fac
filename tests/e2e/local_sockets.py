"""The table of all Unix sockets that listen on a relay, and the users that may connect to each.

A socket that is not here is a failure of `test_local_users.py`, and so is a row whose socket is gone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SocketRow:
    """Sockets in one directory with the same users; `always` is false where a host may lack them."""

    directory: str
    names: tuple[str, ...]
    users: frozenset[str]
    reason: str
    always: bool = True

    @property
    def paths(self) -> Iterable[str]:
        return (f"{self.directory}/{name}" for name in self.names)


def _row(directory: str, names: str, users: str, reason: str) -> SocketRow:
    return SocketRow(directory, tuple(names.split()), frozenset(users.split()), reason)


def _debian(directory: str, names: str, users: str, reason: str) -> SocketRow:
    return SocketRow(directory, tuple(names.split()), frozenset(users.split()), reason, always=False)


_SPOOL, _DOVECOT = "/var/spool/postfix", "/run/dovecot"

TABLE = (
    # -- Postfix: its directories are closed to others. Its own processes are all this one user.
    _row(
        f"{_SPOOL}/public",
        "cleanup flush inbound-cleanup pickup postlog qmgr reinject-cleanup showq submission-cleanup",
        "postfix", "Postfix's own; others come by way of postdrop and postqueue, which ask who they are",
    ),
    _row(
        f"{_SPOOL}/private",
        "anvil bounce defer discard error lmtp mxdeliv proxymap proxywrite retry rewrite scache smtp-mx"
        " tlsmgr trace verify",
        "postfix", "Postfix's own",
    ),
    _row(f"{_SPOOL}/private", "auth dovecot-lmtp quota-status", "postfix", "to Dovecot"),
    _row(f"{_SPOOL}/opendkim", "opendkim.sock", "opendkim postfix", "Postfix's milter; its own directory"),
    _row(
        f"{_SPOOL}/chatmail", "milter.sock recipients.sock relay.sock recipient-policy.sock dns-filter.sock",
        "postfix", "Postfix asks our programs, and delivers to the relay",
    ),
    # -- Dovecot
    _row(
        _DOVECOT,
        "anvil auth-master config director-admin doveadm-server log-errors master old-stats"
        " replication-notify stats-reader",
        "", "of Dovecot's processes that are root, and of doveadm",
    ),
    _row(
        _DOVECOT, "auth-client auth-login auth-worker dns-client imap-master indexer-worker ipc",
        "dovecot", "between processes of Dovecot that hold no mail and no connection of a stranger",
    ),
    _row(_DOVECOT, "stats-writer", "dovecot vmail", "each process tells what it does"),
    _row(
        f"{_DOVECOT}/login", "dns-client imap ipc-proxy login stats-writer",
        "dovenull", "login processes ask for a password's owner, and hand the connection over",
    ),
    _row(_DOVECOT, "auth-userdb indexer imap-hibernate quota-warning", "vmail", "those who hold a mailbox"),
    _row(_DOVECOT, "deliveries-userdb deliveries-master", "vmail", "deliveries ask who has a mailbox"),
    _row(_DOVECOT, "chatmail-connections", "chatmail-push", "who is connected needs no notice"),
    _row(_DOVECOT, "chatmail-mailboxes", "chatmail-relay", "has a mailbox room?"),
    # -- Ours
    _row("/run/mxdeliv-app", "app.sock", "www-data", "nginx passes requests on"),
    _row("/run/chatmail-admin", "admin.sock", "www-data", "nginx passes requests on"),
    _row("/run/chatmail-webimap", "webimap.sock", "www-data", "nginx passes requests on"),
    _row("/run", "chatmail-orders.sock", "chatmail-admin", "the admin pages give orders"),
    _row("/run/chatmail-push", "metadata.sock", "vmail", "imap processes ask for METADATA"),
    _row("/run", "chatmail-resolver.sock", "chatmail-milter", "the milter asks DNS"),
    _row("/run", "unbound.ctl", "", "root's unbound-control"),
    # -- Debian's: of no mail. What they tell or take is their own affair, by who asks.
    _debian("/run/dbus", "system_bus_socket", "*", "D-Bus has its own policy"),
    _debian("/run/systemd/journal", "dev-log socket stdout", "*", "everybody may log; journald notes who"),
    _debian("/run/systemd", "notify io.system.ManagedOOM", "*", "systemd looks at who tells"),
    _debian("/run/systemd/userdb", "io.systemd.DynamicUser", "*", "names of users"),
    _debian("/run/systemd/journal", "io.systemd.journal", "", "journalctl as root"),
    _debian("/run/systemd", "private", "", "systemctl as root"),
    _debian("/run/udev", "control", "", "udevadm as root"),
    _debian("/run/host", "notify", "", "a container's host, for root"),
    _debian("/run/user/0/systemd", "notify private", "", "root's own session"),
)  # fmt: skip


def by_path() -> Mapping[str, SocketRow]:
    """Each socket of the table."""
    return {path: row for row in TABLE for path in row.paths}


def allowed(user: str, among: Collection[str]) -> set[str]:
    """Those of some sockets that a user may connect to."""
    return {path for path, row in by_path().items() if path in among and row.users & {user, "*"}}
