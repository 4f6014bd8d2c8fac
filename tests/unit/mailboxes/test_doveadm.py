"""Our calls of doveadm, and how its output is parsed. The end-to-end tests call the real one."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from chatmail_milter.mailboxes import doveadm as module
from chatmail_milter.mailboxes.doveadm import (
    Doveadm,
    DoveadmError,
    Folder,
    MailboxContents,
    StoredMessage,
    Usage,
)

ALICE, BOB = "alice123@a.test", "bob12345@a.test"

PROGRAM = """#!/bin/sh
echo "$@" >> "$0.asked"
for word in "$@"; do case $word in *.users) cat "$word" >> "$0.users";; esac; done
cat "$0.says"
cat "$0.complains" >&2
case "$*" in *"$(cat "$0.fails")"*)
    status=$(cat "$0.status")
    # Of a signal.
    [ "$status" -ge 0 ] || kill "$status" $$
    exit "$status" ;;
esac
"""


class ScriptedDoveadm:
    """A script in doveadm's place."""

    def __init__(self, program: Path) -> None:
        self.path = program
        program.write_text(PROGRAM)
        program.chmod(0o755)
        self.will("")

    def will(self, say: str, *, complain: str = "", status: int = 0, fails: str = "") -> Doveadm:
        """`status` is that of commands with the words `fails`."""
        texts = {"says": say, "complains": complain, "status": str(status), "fails": fails, "asked": ""}
        for name, text in texts.items():
            self.path.with_name(f"doveadm.{name}").write_text(text)
        return Doveadm(str(self.path))

    @property
    def asked(self) -> list[str]:
        return self.path.with_name("doveadm.asked").read_text().splitlines()

    @property
    def users(self) -> list[str]:
        return self.path.with_name("doveadm.users").read_text().splitlines()


@pytest.fixture
def doveadm(tmp_path: Path) -> ScriptedDoveadm:
    return ScriptedDoveadm(tmp_path / "doveadm")


INBOX, SENT = "e8ed5813" * 4, "5813e8ed" * 4
FETCHED = (
    "Username\tuser\tmailbox-guid\tuid\tflags\tsize.virtual\tdate.received.unixtime\n"
    f"{ALICE}\t{ALICE}\t{INBOX}\t1\t\\Seen\t2074\t1792805428\n"
    f"{BOB}\t{BOB}\t{SENT}\t7\t\t14\t1794706228\n"
)


def test_messages_of_several_users(doveadm: ScriptedDoveadm) -> None:
    found = list(doveadm.will(FETCHED).messages([ALICE, BOB], ("BEFORE", "5")))
    assert found == [
        StoredMessage(ALICE, INBOX, 1, 2074, 1792805428, seen=True),
        StoredMessage(BOB, SENT, 7, 14, 1794706228),
    ]
    assert doveadm.users == [ALICE, BOB]
    (asked,) = doveadm.asked
    assert " mailbox * BEFORE 5" in asked
    # Not in the list of processes.
    assert ALICE not in asked


def test_everything_of_one_user_with_who_wrote_it(doveadm: ScriptedDoveadm) -> None:
    rows = [
        {"flags": "\\Seen \\Recent", "hdr.from": "Ü <X@Evil.test>"},
        {"flags": "\\Seenish", "hdr.from": "=?utf-8?q?a?=\n\t<bob@b.test>"},
        # Two fields, none, and what no program may take for a row of its own.
        {"flags": "", "hdr.from": "x@evil.test\ny@evil.test"},
        {"flags": "$x", "hdr.from": ""},
        {"flags": "", "hdr.from": 'a\tb\n "," <z@evil.test>, '},
    ]
    said = json.dumps(
        [
            {
                "user": ALICE, "mailbox-guid": INBOX, "uid": str(uid), "flags": row["flags"],
                "size.virtual": "2074", "date.received.unixtime": "1792805428", "hdr.from": row["hdr.from"],
            }
            for uid, row in enumerate(rows, 1)
        ],
        ensure_ascii=False,
    )  # fmt: skip
    contents = doveadm.will(said).everything(ALICE)
    found = contents.messages
    assert contents.unreadable == 0
    assert found[0] == StoredMessage(ALICE, INBOX, 1, 2074, 1792805428, seen=True, sender="x@evil.test")
    assert [(one.uid, one.seen, one.sender) for one in found[1:]] == [
        (2, False, "bob@b.test"),
        (3, False, ""),
        (4, False, ""),
        (5, False, ""),
    ]
    assert doveadm.will("").everything(ALICE) == MailboxContents([])
    with pytest.raises(DoveadmError):
        doveadm.will("[{").everything(ALICE)


FIELDS = ("user", "mailbox-guid", "uid", "flags", "size.virtual", "date.received.unixtime", "hdr.from")


# What doveadm does last where it could not read a message: 2.3 has an exit status, 2.4.1 aborts.
ENDS = {"2.3": 75, "2.3, not found": 68, "2.4": -signal.SIGABRT}


def printed(messages: list[list[str]], *, closed: bool = True) -> str:
    """JSON as doveadm prints it: a value that it can't read is left out, and all after it move up.

    `closed`: whether the array is, as 2.3 closes it where the last row lacks values.
    """
    values = [value for message in messages for value in message]
    rows = [values[start : start + len(FIELDS)] for start in range(0, len(values), len(FIELDS))]
    text = json.dumps([dict(zip(FIELDS, row, strict=False)) for row in rows])
    return text if len(rows[-1]) == len(FIELDS) else text.removesuffix("}]") + "]" * closed


UNREADABLE = {
    "its header": ["2074", "1792805428"],
    "its size": ["1792805428", "x@b.test"],
    "its time": ["2074", "x@b.test"],
    "all but its entry in the index": [],
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("where", [0, 1, 2, 3])
@pytest.mark.parametrize("what", UNREADABLE)
def test_a_message_that_cannot_be_read_moves_no_other(
    doveadm: ScriptedDoveadm, what: str, where: int, end: str
) -> None:
    # What a sender or the user may write there, so that it looks like the beginning of another message.
    whole = [
        [ALICE, INBOX, str(uid), flags, "9", "1792805428", sender]
        for uid, flags, sender in ((1, "", INBOX), (2, INBOX, "x@b.test"), (3, "\\Seen", ALICE))
    ]
    messages = [*whole[:where], [ALICE, SENT, "7", "", *UNREADABLE[what]], *whole[where:]]
    text = printed(messages, closed=end != "2.4")
    said = doveadm.will(text, complain="Error: fetch(from) failed\n", status=ENDS[end])
    contents = said.everything(ALICE)
    found = contents.messages
    assert contents.unreadable == 1
    assert [one for one in found if one.mailbox == INBOX] == [
        StoredMessage(ALICE, INBOX, 1, 9, 1792805428, seen=False, sender=""),
        StoredMessage(ALICE, INBOX, 2, 9, 1792805428, seen=False, sender="x@b.test"),
        StoredMessage(ALICE, INBOX, 3, 9, 1792805428, seen=True, sender=ALICE),
    ]
    known = [StoredMessage(ALICE, SENT, 7, 2074, 1792805428)] if what == "its header" else []
    assert [one for one in found if one.mailbox == SENT] == known


def test_a_message_that_cannot_be_read_moves_no_other_users(doveadm: ScriptedDoveadm) -> None:
    # As doveadm 2.3 printed it: the line goes on with the next user's message, and has no end.
    head = FETCHED.partition("\n")[0]
    row = f"{ALICE}\t{ALICE}\t{SENT}\t7\t\t1792805428\t{BOB}\n{BOB}\t{INBOX}\t3\t\\Seen\t14\t1794706228"
    said = doveadm.will(f"{head}\n{row}", complain="Error: fetch(size.virtual) failed\n", status=75)
    found: list[StoredMessage] = []
    with pytest.raises(DoveadmError):
        found.extend(said.messages([ALICE, BOB], ()))
    assert found == [StoredMessage(BOB, INBOX, 3, 14, 1794706228, seen=True)]


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("", 75),
        ("[]", 75),
        ("[", -signal.SIGABRT),
        (printed([[ALICE, INBOX, "1", "", "9", "9"]]), 1),
        # Killed amid a value.
        (printed([[ALICE, INBOX, "1", "", "9", "9"]], closed=False), -signal.SIGKILL),
        (printed([[ALICE, INBOX, "1", "", "9", "9"]], closed=False)[:-2], -signal.SIGABRT),
    ],
)
def test_a_mailbox_that_cannot_be_read_at_all_is_an_error(
    doveadm: ScriptedDoveadm, text: str, status: int
) -> None:
    with pytest.raises(DoveadmError, match=f"exit status {status}"):
        doveadm.will(text, status=status).everything(ALICE)


def test_nothing_found_is_nothing(doveadm: ScriptedDoveadm) -> None:
    assert list(doveadm.will(FETCHED.partition("\n")[0] + "\n").messages([ALICE], ())) == []
    assert list(doveadm.will("").messages([ALICE], ())) == []
    assert list(doveadm.will("[]").folders([ALICE])) == []
    assert list(doveadm.will("").folders([ALICE])) == []


def test_a_folder_that_is_not_there_hides_no_other(doveadm: ScriptedDoveadm) -> None:
    row = f'{{"username":"{ALICE}","mailbox":"New","messages":"0","uidvalidity":"1790000000"}}'
    complaint = "doveadm(alice123@a.test): Error: Mailbox Box: Mailbox doesn't exist: Box\n"
    gone = doveadm.will(f"[{row}]", complain=complaint, status=68)
    assert list(gone.folders([ALICE])) == [(ALICE, Folder("New", 0, 1790000000))]
    with pytest.raises(DoveadmError, match="exit status 75"):
        list(doveadm.will(f"[{row}]", complain=complaint, status=75).folders([ALICE]))
    with pytest.raises(DoveadmError, match="exit status 68"):
        list(doveadm.will("", complain=complaint, status=68).messages([ALICE], ()))


def test_how_full_mailboxes_are(doveadm: ScriptedDoveadm) -> None:
    said = (
        "Username\tQuota name\tType\tValue\tLimit\t%\n"
        f"{ALICE}\tUser quota\tSTORAGE\t13\t488282\t0\n"
        f"{ALICE}\tUser quota\tMESSAGE\t7\t-\t0\n"
        f"{BOB}\tUser quota\tSTORAGE\t13\t-\t0\n"
    )
    assert list(doveadm.will(said).usage([ALICE, BOB])) == [Usage(ALICE, 13 * 1024, 488282 * 1024)]


def test_folders_may_have_any_name(doveadm: ScriptedDoveadm) -> None:
    said = (
        f'[{{"username":"{ALICE}","mailbox":"a\\tb \\"c\\"","messages":"0","uidvalidity":"1795397430"}},'
        f'{{"username":"{BOB}","mailbox":"-e","messages":"3","uidvalidity":"1"}}]'
    )
    assert list(doveadm.will(said).folders([ALICE, BOB])) == [
        (ALICE, Folder('a\tb "c"', 0, 1795397430)),
        (BOB, Folder("-e", 3, 1)),
    ]
    doveadm.will("").delete_if_empty(BOB, "-e")
    assert doveadm.asked[0].endswith(f" mailbox delete -e -s -u {BOB} -- -e")


def test_uids_beyond_all_of_the_folders_are_left_out_for_those_who_have_a_folder(
    doveadm: ScriptedDoveadm,
) -> None:
    said = (
        f'[{{"username":"{ALICE}","mailbox":"INBOX","uidnext":"8","highestmodseq":"3"}},'
        f'{{"username":"{ALICE}","mailbox":"-e","uidnext":"70","highestmodseq":"1"}},'
        f'{{"username":"{BOB}","mailbox":"INBOX","uidnext":"2","highestmodseq":"9"}}]'
    )
    doveadm.will(said).leave_out_uids([ALICE, BOB], 1000)
    asked = [line.partition(" mailbox ")[2] for line in doveadm.asked]
    assert asked[0].startswith("status -F ")
    assert asked[0].endswith(".users uidnext highestmodseq *")
    least = " --min-next-uid 1070 --min-highest-modseq 1009 -- "
    assert [line.partition(".users")[2] for line in asked[1:]] == [f"{least}INBOX", f"{least}-e"]
    assert doveadm.users == [ALICE, BOB, ALICE, BOB, ALICE]
    doveadm.will(said).leave_out_uids([], 1000)
    assert doveadm.asked == []


def test_one_folder_that_fails_keeps_no_other_from_leaving_out_uids(doveadm: ScriptedDoveadm) -> None:
    said = (
        f'[{{"username":"{ALICE}","mailbox":"INBOX","uidnext":"8","highestmodseq":"3"}},'
        f'{{"username":"{ALICE}","mailbox":"Sent","uidnext":"1","highestmodseq":"1"}}]'
    )
    fails = doveadm.will(said, complain="no", status=75, fails="-- INBOX")
    with pytest.raises(DoveadmError):
        fails.leave_out_uids([ALICE], 1000)
    assert doveadm.asked[-1].endswith(" -- Sent")


def test_messages_are_removed_by_mailbox_many_at_once(doveadm: ScriptedDoveadm) -> None:
    messages = [StoredMessage(ALICE, "e8ed", uid, 1, 1) for uid in range(1, 5002)] + [
        StoredMessage(ALICE, "5813", 3, 1, 1)
    ]
    doveadm.will("").expunge(messages)
    ends = [line.rpartition("expunge ")[2] for line in doveadm.asked]
    assert ends[0].startswith(f"-u {ALICE} mailbox-guid e8ed uid 1,2,3,")
    assert ends[0].endswith(",5000")
    assert ends[1:] == [f"-u {ALICE} mailbox-guid e8ed uid 5001", f"-u {ALICE} mailbox-guid 5813 uid 3"]


def test_none_are_removed_without_asking(doveadm: ScriptedDoveadm) -> None:
    doveadm.will("", status=1).expunge([])
    assert doveadm.asked == []


def test_a_failure_comes_after_what_was_found_and_names_nobody(doveadm: ScriptedDoveadm) -> None:
    program = doveadm.will(FETCHED, complain=f"doveadm({BOB}): Error: no such luck\n", status=75)
    found: list[StoredMessage] = []
    with pytest.raises(DoveadmError, match=r"^doveadm fetch: exit status 75: .*no such luck") as failed:
        found.extend(program.messages([ALICE, BOB], ()))
    assert len(found) == 2
    assert "bob12345" not in str(failed.value)
    with pytest.raises(DoveadmError):
        program.expunge(found)


def test_deliveries_forget_accounts_where_there_is_a_dovecot(
    doveadm: ScriptedDoveadm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    socket = tmp_path / "deliveries-master"
    monkeypatch.setattr(module, "DELIVERIES", socket)
    doveadm.will("").forget_accounts()
    assert doveadm.asked == []
    socket.touch()
    doveadm.will("3 cache entries flushed").forget_accounts()
    assert doveadm.asked[0].endswith(f" auth cache flush -a {socket}")
    with pytest.raises(DoveadmError):
        doveadm.will("", status=75).forget_accounts()


def test_no_dovecot_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        list(Doveadm(str(tmp_path / "none")).usage([ALICE]))
