"""The rooms of the code: what is in each, and which others it imports.

The one table: `test_rooms.py` holds the code and CONTRIBUTING.md to it. A room imports rooms above it
only, so there is no circle. `python -m tests.unit.rooms` prints CONTRIBUTING's rows.
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
    Room("chatmail_milter", "the vocabulary: addresses, replies, verdicts; late opening, systemd's sockets"),
    Room("chatmail_milter/gate", "the PGP-only rule: bytes to a classification. Pure"),
    Room(
        "chatmail_milter/rules",
        "facts to a `Verdict`: submission, inbound, DKIM, policy, expiry. Pure",
        ("gate",),
    ),
    Room(
        "chatmail_milter/config", "the one configuration: types and defaults, values with units, the example"
    ),
    Room(
        "chatmail_milter/processes",
        "one program in several processes: fork, end, locks, shared tables, rates",
    ),
    Room(
        "chatmail_milter/store",
        "what a relay remembers (SQLAlchemy Core), and its migrations (Alembic)",
        ("rules",),
    ),
    Room(
        "chatmail_milter/accounts",
        "what an account is made of, who may make one, links",
        ("config", "processes"),
    ),
    Room(
        "chatmail_milter/origin",
        "where a message is from: DNS, DKIM after OpenDKIM (dkimpy)",
        ("rules", "store"),
    ),
    Room(
        "chatmail_milter/milter",
        "`chatmail-milter`; only `daemon.py` and `session.py` know pymilter",
        ("gate", "rules", "config", "processes", "store", "origin"),
    ),
    Room(
        "chatmail_milter/mailboxes",
        "what is in mailboxes, and how it goes: by doveadm",
        ("rules", "config", "store"),
    ),
    Room(
        "chatmail_milter/doctor",
        "what is wrong with a relay: one file per subject, each gives findings",
        ("store",),
    ),
    Room(
        "chatmail_milter/figures",
        "what an operator is told of traffic, peers, accounts, queue, disks, as values",
        ("config", "store"),
    ),
    Room("chatmail_milter/backup", "a relay on disk: what is backed up, and brought back", ("mailboxes",)),
    Room("chatmail_milter/trace", "the way of a message on this host, from the journal's lines"),
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
        ),
    ),
    Room(
        "mxdeliv_app/mxdeliv", "`POST /mxdeliv`: its format (pure), and its way into Postfix", ("accounts",)
    ),
    Room(
        "mxdeliv_app/serving",
        "what our applications under gunicorn share",
        ("config", "processes", "mxdeliv"),
    ),
    Room(
        "mxdeliv_app/https",
        "HTTPS to hosts that strangers name: resolved once, judged, verified, kept open",
        ("config", "mxdeliv"),
    ),
    Room(
        "mxdeliv_app/stats",
        "what is counted of peers, from our attempts and from the journal",
        ("config", "store"),
    ),
    Room(
        "mxdeliv_app/postfix",
        "what Postfix asks by its policy protocol: `chatmail-recipients`",
        ("config", "processes", "store", "accounts"),
    ),
    Room(
        "mxdeliv_app/relay",
        "`mxdeliv-relay`, the way out: where, HTTPS, fallback; what it learnt of peers",
        ("rules", "config", "processes", "store", "mxdeliv", "https", "stats", "postfix"),
    ),
    Room(
        "mxdeliv_app/dovecot",
        "what Dovecot asks and tells: `chatmail-hooks`, `chatmail-wake`, guesses of passwords",
        ("rules", "config", "processes", "store", "accounts", "mailboxes", "serving"),
    ),
    Room(
        "mxdeliv_app/push",
        "`chatmail-push`: notices to phones, IMAP METADATA",
        ("config", "store", "https", "dovecot"),
    ),
    Room(
        "mxdeliv_app/probe",
        "`chatmailctl probe`: a real message by each road, step by step",
        ("config", "store", "ctl", "mxdeliv", "https", "relay"),
    ),
    Room(
        "mxdeliv_app/admin",
        "the operator's pages, and `chatmail-orders`, which does their orders as root",
        ("rules", "config", "processes", "store", "figures", "ctl", "serving"),
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
