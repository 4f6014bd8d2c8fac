"""The rooms of the code: what is in each, and which others it imports.

The one table: `test_rooms.py` holds the code and CONTRIBUTING.md to it. A room imports rooms above it
only, so there is no circle. `python -m tests.unit.repository.rooms` prints CONTRIBUTING's rows.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Room:
    """`imports`: rooms by the names of their folders, the vocabulary left out, which each may import."""

    folder: str
    holds: str
    imports: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """How other rooms' `imports` call it."""
        return self.folder.rpartition("/")[2]


ROOMS = (
    Room(
        "chatmail_milter",
        "the vocabulary: addresses, replies, verdicts; and what all programs share: fair shares, lazy"
        " initialisation, systemd's sockets, lines of the journal, atomic replacement of a file",
    ),
    Room("chatmail_milter/gate", "the PGP-only rule: classifies the bytes of a message. Pure"),
    Room(
        "chatmail_milter/rules",
        "decisions, most as a `Verdict`: submission, inbound, DKIM, policy, what to remove from a full "
        "mailbox. Pure",
        ("gate",),
    ),
    Room(
        "chatmail_milter/config", "the one configuration: types and defaults, values with units, the example"
    ),
    Room(
        "chatmail_milter/processes",
        "several processes of one program: fork, stop, locks, shared tables, rate limits",
    ),
    Room(
        "chatmail_milter/store",
        "the database: accounts, policy, peers (SQLAlchemy Core), and its migrations (Alembic)",
        ("rules",),
    ),
    Room(
        "chatmail_milter/accounts",
        "rules and credentials for new accounts, login links; `store` has the accounts",
        ("config", "processes"),
    ),
    Room(
        "chatmail_milter/origin",
        "checks the origin of a message: by DNS, and the DKIM signatures that OpenDKIM left undecided "
        "(dkimpy)",
        ("rules", "store"),
    ),
    Room(
        "chatmail_milter/milter",
        "`chatmail-milter`; only `daemon.py` and `session.py` know pymilter",
        ("gate", "rules", "config", "processes", "store", "origin"),
    ),
    Room(
        "chatmail_milter/mailboxes",
        "lists and deletes mail, by doveadm: expiry, full mailboxes",
        ("rules", "config", "store"),
    ),
    Room(
        "chatmail_milter/doctor",
        "what is wrong with a relay: one file per subject, each gives findings",
        ("store",),
    ),
    Room(
        "chatmail_milter/calls",
        "secrets of the TURN server for calls, credentials of apps for it, and its ports",
    ),
    Room(
        "chatmail_milter/figures",
        "figures for the operator: traffic, peers, accounts, queue, disks",
        ("config", "store", "calls"),
    ),
    Room("chatmail_milter/backup", "backup and restore of a relay's store, files and mail", ("mailboxes",)),
    Room("chatmail_milter/trace", "the path of a message on this host, from the journal's lines"),
    Room(
        "chatmail_milter/ctl",
        "`chatmailctl`, one file per noun",
        (
            "gate",
            "rules",
            "config",
            "store",
            "accounts",
            "milter",
            "mailboxes",
            "doctor",
            "figures",
            "trace",
            "backup",
            "calls",
        ),
    ),
    Room(
        "mxdeliv_app/mxdeliv",
        "`POST /mxdeliv`: format of requests and answers (pure), and the receiver, which gives the message "
        "to Postfix",
    ),
    Room(
        "mxdeliv_app/serving",
        "what our web applications share: gunicorn's settings, faults, browsers",
        ("config", "processes", "mxdeliv"),
    ),
    Room(
        "mxdeliv_app/https",
        "HTTPS client for hosts that strangers name: allowed addresses, TLS, kept connections",
        ("config", "mxdeliv"),
    ),
    Room(
        "mxdeliv_app/stats",
        "statistics of peers, from our attempts and from the journal",
        ("config", "store"),
    ),
    Room(
        "mxdeliv_app/postfix",
        "Postfix's policy protocol: `chatmail-recipients`",
        ("config", "processes", "store"),
    ),
    Room(
        "mxdeliv_app/relay",
        "`mxdeliv-relay`, outgoing mail: routing, HTTPS, fallback to SMTP; cache of peers",
        ("rules", "config", "processes", "store", "mxdeliv", "https", "stats", "postfix"),
    ),
    Room(
        "mxdeliv_app/dovecot",
        "Dovecot's questions and events: `chatmail-hooks`, `chatmail-wake`; limit on password guesses",
        ("rules", "config", "processes", "store", "accounts", "mailboxes", "serving"),
    ),
    Room(
        "mxdeliv_app/push",
        "`chatmail-push`: push notifications, IMAP METADATA",
        ("config", "store", "https", "dovecot", "calls"),
    ),
    Room(
        "mxdeliv_app/probe",
        "`chatmailctl probe`: a real message by HTTPS and by SMTP, step by step",
        ("config", "store", "ctl", "mxdeliv", "https", "relay"),
    ),
    Room(
        "mxdeliv_app/admin",
        "the admin pages, and `chatmail-orders`, which executes their orders as root",
        ("rules", "config", "processes", "store", "figures", "trace", "ctl", "serving"),
    ),
    Room(
        "mxdeliv_app/webimap",
        "`chatmail-webimap`: a user's mailbox and submission for web clients, by REST and WebSocket",
        ("config", "serving"),
    ),
    Room(
        "mxdeliv_app/web",
        "`mxdeliv-app`: the application behind nginx, `/new`, autoconfig, pages",
        ("config", "processes", "store", "accounts", "mxdeliv", "serving"),
    ),
)


def rows() -> str:
    """The rooms as rows of CONTRIBUTING's table."""
    return "".join(
        f"| `{room.folder}/` | {room.holds} | {', '.join(f'`{name}`' for name in room.imports)} |\n"
        for room in ROOMS
    )


if __name__ == "__main__":
    print(rows(), end="")
