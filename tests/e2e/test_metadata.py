"""Malformed METADATA (RFC 5464) commands get an IMAP error in time, and the session continues."""

from __future__ import annotations

import pytest

from tests.bench.mail.units import DOVECOT, Units
from tests.chat.imap import ImapMailbox
from tests.chat.person import fresh_address, fresh_password
from tests.e2e.conftest import Login
from tests.lab.host import LabHost

TOKEN = b"INBOX /private/devicetoken"
# MiB. Dovecot holds a value whole, several times over, within its limit for a process (default_vsz_limit); a
# session that would exceed that ends. Ours holds none.
DOVECOT_MOST, OURS_MOST = 256.0, 16.0


@pytest.fixture(scope="module")
def login(b: LabHost) -> Login:
    login = fresh_address(b.domain), fresh_password()
    with ImapMailbox(b.ip, *login) as mailbox:
        assert mailbox.ask(b'SETMETADATA INBOX (/private/devicetoken "token-own")')[-1].startswith(b"OK")
    return login


def is_well(b: LabHost, login: Login) -> bool:
    """What was there before is there still, and METADATA works."""
    with ImapMailbox(b.ip, *login) as mailbox:
        return mailbox.ask(b"GETMETADATA " + TOKEN)[1:2] == [b"token-own)"]


REFUSED = {
    "nothing": b"SETMETADATA",
    "an entry without a value": b"SETMETADATA INBOX (/private/devicetoken)",
    "no end": b'SETMETADATA INBOX (/private/devicetoken "x"',
    "a list for a value": b"SETMETADATA INBOX (/private/devicetoken (x y))",
    "a token with a line's end": b"SETMETADATA INBOX (/private/devicetoken {3+}\r\na\r\n)",
    "a NUL": b"SETMETADATA INBOX (/private/devicetoken {3+}\r\na\0b)",
    "an empty name": b'SETMETADATA INBOX ("" "x")',
    "a name without a slash": b'SETMETADATA INBOX (private "x")',
    "a name that ends in a slash": b'SETMETADATA INBOX (/private/devicetoken/ "x")',
    "two slashes": b'SETMETADATA INBOX (/private//devicetoken "x")',
    "a wildcard": b'SETMETADATA INBOX (/private/* "x")',
    "another wildcard": b'SETMETADATA INBOX (/private/% "x")',
    "an entry of the relay's": b'SETMETADATA "" (/shared/vendor/deltachat/irohrelay "x")',
    "an entry of nobody's": b'SETMETADATA INBOX (/private/comment "x")',
    "the server's own": b'SETMETADATA "" (/private/devicetoken/x "x")',
    "a mailbox that is not there": b'SETMETADATA Nowhere (/private/devicetoken "x")',
    "a name of 100 kB": b"SETMETADATA INBOX (/private/" + b"x" * 100_000 + b' "x")',
    "a thousand entries": b"SETMETADATA INBOX (" + b'/private/x "y" ' * 1000 + b")",
    "lists in lists": b"GETMETADATA INBOX " + b"(" * 5000,
    "8 bits": b'SETMETADATA INBOX (/private/d\xc3\xa9vice "\xff\xfe")',
    "an option that there isn't": b"GETMETADATA (DEPTH 7) INBOX (/private/devicetoken)",
    "a size that is none": b"GETMETADATA (MAXSIZE x) INBOX (/private/devicetoken)",
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_malformed_is_refused_and_changes_nothing(b: LabHost, login: Login, kind: str) -> None:
    with ImapMailbox(b.ip, *login) as mailbox:
        try:
            said = mailbox.ask(REFUSED[kind])[-1]
        except ConnectionError:
            said = b"BYE"
    assert said.startswith((b"NO", b"BAD", b"BYE"))
    assert len(said) < 300
    assert is_well(b, login)


def test_tokens_of_megabytes_take_memory_within_bounds(b: LabHost, login: Login) -> None:
    services = Units(b, (DOVECOT, "chatmail-push"))
    with ImapMailbox(b.ip, *login) as mailbox:
        mailbox.ask(b"NOOP")
        before = {name: services.memory(name).now for name in (DOVECOT, "chatmail-push")}
        for name in before:
            services.forget_peak(name)
        for megabytes in (1, 16, 64):
            literal = b"{%d+}\r\n" % (megabytes << 20) + b"x" * (megabytes << 20)
            try:
                said = mailbox.ask(b"SETMETADATA INBOX (/private/devicetoken " + literal + b")")[-1]
            except (ConnectionError, OSError):
                break
            assert said.startswith((b"NO", b"BAD"))
        grown = {name: services.memory(name).peak - mib for name, mib in before.items()}
    assert grown[DOVECOT] < DOVECOT_MOST, grown
    assert grown["chatmail-push"] < OURS_MOST, grown
    assert is_well(b, login)
