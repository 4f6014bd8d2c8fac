"""Every IMAP command that Dovecot offers works with our plugins and our METADATA server.

The table names each capability that a session is offered, so one that comes new fails until it has its
commands. No answer is SERVERBUG (RFC 5530), and the journal has no warning. One exception, not in the table:
to set an entry that is not kept is refused so, as Dovecot has no other word for what its dict refuses.
"""

from __future__ import annotations

import base64
import imaplib
from collections.abc import Iterator

import pytest

from tests.chat.imap import ImapMailbox
from tests.chat.person import fresh_address, fresh_password
from tests.chat.smtp import any_certificate
from tests.e2e.conftest import Login
from tests.lab.host import LabHost
from tests.lab.plan import BY_NAME

MESSAGE = (
    b"From: a@example.org\r\nTo: b@example.org\r\nSubject: x\r\nDate: Thu, 01 Jan 2026 00:00:00 +0000\r\n"
    b"Message-ID: <1@example.org>\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n"
    b"\r\naGVsbG8=\r\n"
)
LITERAL = b"{%d+}\r\n%s" % (len(MESSAGE), MESSAGE)

OK, NO, BAD = b"OK", b"NO", b"BAD"

# By capability: commands, each with what it is answered. A session has INBOX selected with two messages in
# it, and folders `Box` and `Box.Child`.
Commands = list[tuple[bytes, bytes]]
TABLE: dict[str, Commands] = {
    "IMAP4rev1": [
        (b"CAPABILITY", OK),
        (b"NOOP", OK),
        (b"CHECK", OK),
        (b"EXAMINE Box", OK),
        (b"SELECT INBOX", OK),
        (b"SELECT Nowhere", NO),
        (b"SELECT INBOX", OK),
        (b"CREATE Made", OK),
        (b"CREATE Made", b"NO [ALREADYEXISTS]"),
        (b"CREATE Made.With.Parents", OK),
        (b"RENAME Made Renamed", OK),
        (b"RENAME Nowhere Else", b"NO [NONEXISTENT]"),
        (b"SUBSCRIBE Renamed", OK),
        (b'LSUB "" *', OK),
        (b"UNSUBSCRIBE Renamed", OK),
        (b'LIST "" *', OK),
        (b"STATUS Box (MESSAGES RECENT UIDNEXT UIDVALIDITY UNSEEN)", OK),
        (b"APPEND Box (\\Seen) " + LITERAL, b"OK [APPENDUID "),
        (b"APPEND Nowhere " + LITERAL, b"NO [TRYCREATE]"),
        (b"SEARCH HEADER Message-ID 1@example.org", OK),
        (b"SEARCH CHARSET UTF-8 BODY hello", OK),
        (b"SEARCH CHARSET NONE BODY hello", b"NO [BADCHARSET"),
        (b"FETCH 1 (FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE BODY.PEEK[HEADER])", OK),
        (b"UID FETCH 1:* FLAGS", OK),
        (b"STORE 1 +FLAGS (\\Flagged $Label)", OK),
        (b"COPY 1 Box", b"OK [COPYUID "),
        (b"STORE 1 +FLAGS (\\Deleted)", OK),
        (b"EXPUNGE", OK),
        (b"DELETE Renamed.With.Parents", OK),
        (b"DELETE Renamed", OK),
        (b"DELETE Renamed", b"NO [NONEXISTENT]"),
        (b"DELETE INBOX", NO),
        (b"CLOSE", OK),
        (b"XYZZY", BAD),
    ],
    "LITERAL+": [(b"CREATE {4+}\r\nFour", OK), (b"DELETE {4+}\r\nFour", OK)],
    "LOGIN-REFERRALS": [(b"LOGIN someone else", BAD)],
    "ID": [(b'ID ("name" "test")', OK), (b"ID NIL", OK)],
    "ENABLE": [(b"ENABLE CONDSTORE QRESYNC", OK), (b"ENABLE NOTHING", OK)],
    "IDLE": [(b"IDLE\r\nDONE", OK)],
    "SORT": [(b"SORT (REVERSE DATE) UTF-8 ALL", OK), (b"UID SORT (SUBJECT) UTF-8 ALL", OK)],
    "SORT=DISPLAY": [(b"SORT (DISPLAYFROM DISPLAYTO) UTF-8 ALL", OK)],
    "THREAD=REFERENCES": [(b"THREAD REFERENCES UTF-8 ALL", OK)],
    "THREAD=REFS": [(b"THREAD REFS UTF-8 ALL", OK)],
    "THREAD=ORDEREDSUBJECT": [(b"THREAD ORDEREDSUBJECT UTF-8 ALL", OK)],
    "MULTIAPPEND": [(b"APPEND Box " + LITERAL + b" (\\Seen) " + LITERAL, b"OK [APPENDUID ")],
    "CATENATE": [
        (b"APPEND Box CATENATE (TEXT " + LITERAL + b")", b"OK [APPENDUID "),
        (b'APPEND Box CATENATE (URL "/INBOX/;UID=1")', b"OK [APPENDUID "),
        (b'APPEND Box CATENATE (URL "/INBOX/;UID=99")', b"NO [BADURL "),
    ],
    "URL-PARTIAL": [(b'APPEND Box CATENATE (URL "/INBOX/;UID=1/;PARTIAL=0.20")', b"OK [APPENDUID ")],
    "UNSELECT": [(b"UNSELECT", OK)],
    "CHILDREN": [(b'LIST "" %', OK)],
    "NAMESPACE": [(b"NAMESPACE", OK)],
    "UIDPLUS": [(b"UID COPY 1 Box", b"OK [COPYUID "), (b"UID EXPUNGE 1", OK)],
    "LIST-EXTENDED": [
        (b'LIST (SUBSCRIBED RECURSIVEMATCH) "" ("INBOX" "%") RETURN (SUBSCRIBED CHILDREN)', OK),
        (b'LIST (REMOTE) "" * RETURN (CHILDREN)', OK),
    ],
    "LIST-STATUS": [(b'LIST "" * RETURN (STATUS (MESSAGES UIDNEXT HIGHESTMODSEQ))', OK)],
    "I18NLEVEL=1": [(b"SEARCH CHARSET UTF-8 SUBJECT {3+}\r\n\xc3\xa9x", OK)],
    "CONDSTORE": [
        (b"SELECT INBOX (CONDSTORE)", OK),
        (b"FETCH 1:* (FLAGS) (CHANGEDSINCE 1)", OK),
        (b"STORE 1 (UNCHANGEDSINCE 1) +FLAGS (\\Seen)", b"OK [MODIFIED 1]"),
        (b"SEARCH MODSEQ 1", OK),
        (b"STATUS Box (HIGHESTMODSEQ)", OK),
    ],
    "QRESYNC": [
        (b"ENABLE QRESYNC", OK),
        (b"SELECT INBOX (QRESYNC (1 1 1:10 (1 1)))", OK),
        (b"UID FETCH 1:* (FLAGS) (CHANGEDSINCE 1 VANISHED)", OK),
    ],
    "ESEARCH": [(b"SEARCH RETURN (MIN MAX COUNT ALL) ALL", OK)],
    "ESORT": [(b"SORT RETURN (MIN MAX COUNT ALL) (ARRIVAL) UTF-8 ALL", OK)],
    "SEARCHRES": [(b"SEARCH RETURN (SAVE) ALL", OK), (b"FETCH $ FLAGS", OK)],
    "WITHIN": [(b"SEARCH YOUNGER 100 OLDER 1", OK)],
    "CONTEXT=SEARCH": [
        (b"SEARCH RETURN (UPDATE CONTEXT COUNT) ALL", OK),
        (b"SEARCH RETURN (PARTIAL 1:1) ALL", OK),
        (b'CANCELUPDATE "x1"', OK),
    ],
    "BINARY": [
        (b"FETCH 1 BINARY.PEEK[1]", OK),
        (b"FETCH 1 BINARY.SIZE[1]", OK),
        (b"APPEND Box ~" + LITERAL, b"OK [APPENDUID "),
    ],
    "MOVE": [(b"MOVE 1 Box", OK), (b"UID MOVE 2 Box", OK), (b"MOVE 1 Nowhere", BAD)],
    "SNIPPET=FUZZY": [(b"FETCH 1 (SNIPPET)", OK), (b"FETCH 1 (SNIPPET (LAZY=FUZZY))", OK)],
    "PREVIEW=FUZZY": [(b"FETCH 1 (PREVIEW (FUZZY))", OK)],
    "PREVIEW": [(b"FETCH 1 (PREVIEW)", OK), (b"FETCH 1 (PREVIEW (LAZY))", OK)],
    "STATUS=SIZE": [(b"STATUS INBOX (SIZE)", OK)],
    "SAVEDATE": [(b"FETCH 1 SAVEDATE", OK), (b"SEARCH SAVEDSINCE 1-Jan-2026", OK)],
    "NOTIFY": [
        (
            b"NOTIFY SET STATUS (SELECTED (MessageNew (FLAGS) MessageExpunge)) "
            b"(PERSONAL (MessageNew MessageExpunge MailboxName SubscriptionChange))",
            OK,
        ),
        (b"CREATE Noticed", OK),
        (b"DELETE Noticed", OK),
        (b"NOTIFY SET (PERSONAL (MailboxMetadataChange))", b"NO [BADEVENT "),
        (b"NOTIFY NONE", OK),
    ],
    "METADATA": [
        (b"GETMETADATA INBOX /private/comment", OK),
        (b"GETMETADATA (DEPTH infinity) INBOX (/private /shared)", OK),
        (b'GETMETADATA (DEPTH infinity MAXSIZE 10) "" (/private /shared)', OK),
        (b'GETMETADATA "" (/shared/comment /shared/admin)', OK),
        (b"SETMETADATA INBOX (/private/comment NIL /shared/comment NIL)", OK),
        (b"SETMETADATA Box (/private/comment NIL)", OK),
        (b"SETMETADATA INBOX (/private/vendor/someone/x NIL)", OK),
        (b"SETMETADATA Box (/private/devicetoken NIL)", OK),
        (b'SETMETADATA "" (/private/comment NIL)', OK),
        (b'SETMETADATA "" (/shared/comment NIL)', b"NO [CANNOT]"),
        (b'SETMETADATA "" (/shared/admin NIL)', b"NO [CANNOT]"),
        (b'SETMETADATA INBOX (/private/specialuse "\\\\Sent")', b"NO [CANNOT]"),
    ],
    "QUOTA": [
        (b"GETQUOTAROOT INBOX", OK),
        (b'GETQUOTA "User quota"', OK),
        (b'GETQUOTA "None"', NO),
        (b'SETQUOTA "User quota" (STORAGE 1)', NO),
    ],
}
# What the Dovecot of a later release of Debian offers besides.
SINCE: dict[str, dict[str, Commands]] = {
    "13": {
        # RFC 8508.
        "REPLACE": [
            (b"REPLACE 1 INBOX " + LITERAL, OK),
            (b"UID REPLACE 2 Box " + LITERAL, OK),
            (b"REPLACE 1 Nowhere " + LITERAL, b"NO [TRYCREATE]"),
        ],
        "SPECIAL-USE": [(b'LIST (SPECIAL-USE) "" *', OK), (b'LIST "" * RETURN (SPECIAL-USE)', OK)],
        # Untagged answers during a long command, RFC 9585.
        "INPROGRESS": [],
    },
}
TABLE |= SINCE.get(BY_NAME["b"].release, {})
# No command of their own.
WORDS = {"SASL-IR", "XCHATMAIL", "XDELTAPUSH"}


@pytest.fixture(scope="module")
def login(b: LabHost) -> Login:
    return fresh_address(b.domain), fresh_password()


@pytest.fixture
def mailbox(b: LabHost) -> Iterator[ImapMailbox]:
    """A new account's."""
    with ImapMailbox(b.ip, fresh_address(b.domain), fresh_password()) as mailbox:
        for folder in ("Box", "Box.Child"):
            mailbox.make_folder(folder)
        mailbox.put(MESSAGE)
        mailbox.put(MESSAGE)
        yield mailbox


def complaints(b: LabHost, since: str, mailbox: ImapMailbox) -> list[str]:
    """What Dovecot, and our program behind METADATA, warned of, but for others' mailboxes."""
    ours = ("dovecot", "chatmail-push")
    said = [
        str(one["MESSAGE"])
        for one in b.journal("--priority=warning", since=since)
        if str(one.get("SYSLOG_IDENTIFIER", "")).startswith(ours)
    ]
    # A master that gets no processor for 0.1 s says that time moved.
    said = [line for line in said if not line.startswith("master: Warning: Time moved forward")]
    return [line for line in said if f"@{b.domain}" not in line or mailbox.address in line]


@pytest.mark.parametrize("capability", TABLE)
def test_each_command_is_answered_as_it_should_be(b: LabHost, mailbox: ImapMailbox, capability: str) -> None:
    since = b.cursor()
    for command, right in TABLE[capability]:
        said = mailbox.ask(command)[-1]
        assert said.startswith(right), (command[:80], said)
        assert b"SERVERBUG" not in said, command[:80]
    assert complaints(b, since, mailbox) == []


def test_every_capability_is_in_the_table(mailbox: ImapMailbox) -> None:
    (line,) = [one for one in mailbox.ask(b"CAPABILITY") if one.startswith(b"* CAPABILITY ")]
    offered = set(line.decode().split()[2:])
    assert offered == TABLE.keys() | WORDS


def test_a_login_may_come_with_its_first_line(b: LabHost, login: Login) -> None:
    # SASL-IR, RFC 4959.
    session = imaplib.IMAP4_SSL(b.ip, 993, ssl_context=any_certificate(), timeout=30)
    try:
        first = base64.b64encode("\0".join(("", *login)).encode())
        session.send(b"x1 AUTHENTICATE PLAIN " + first + b"\r\n")
        assert session.readline().startswith((b"x1 OK", b"* CAPABILITY"))
    finally:
        session.shutdown()


@pytest.mark.parametrize("kind", ["empty", "with mail", "with a token", "with a child"])
def test_any_folder_can_be_deleted(b: LabHost, mailbox: ImapMailbox, kind: str) -> None:
    since = b.cursor()
    name = b"Box" if kind == "with a child" else b"Gone"
    if kind != "with a child":
        mailbox.make_folder("Gone")
    if kind == "with mail":
        mailbox.put(MESSAGE, folder="Gone")
    if kind == "with a token":
        assert mailbox.ask(b'SETMETADATA Gone (/private/devicetoken "kept")')[-1].startswith(OK)
    assert mailbox.ask(b"DELETE " + name)[-1].startswith(OK)
    # RFC 3501, 6.3.4: a name with children stays, though there is no such mailbox.
    assert (name.decode() in mailbox.folders()) == (kind == "with a child")
    assert mailbox.ask(b"STATUS " + name + b" (MESSAGES)")[-1].startswith(NO)
    if kind == "with a token":
        # The token is the account's, whichever folder it was set on.
        assert mailbox.ask(b"GETMETADATA INBOX /private/devicetoken")[1:2] == [b"kept)"]
    assert complaints(b, since, mailbox) == []
    # Which hinders no pass.
    assert "what=failure" not in b.run("chatmail-expire --dry-run").stdout


def test_who_deletes_the_selected_folder_is_sent_away_in_words_of_imap(
    b: LabHost, mailbox: ImapMailbox
) -> None:
    since = b.cursor()
    assert mailbox.ask(b"SELECT Box.Child")[-1].startswith(OK)
    assert mailbox.ask(b"DELETE Box.Child")[-1].startswith(OK)
    # RFC 2180, 3.3 allows it; the reply's own words are Dovecot's.
    assert not mailbox.is_open()
    assert complaints(b, since, mailbox) == []
