"""What is asked of doveadm, and how its answers are read. The real one is asked by the end-to-end tests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chatmail_milter.mailboxes.doveadm import Doveadm, DoveadmError, Folder, Message, Usage

ALICE, BOB = "alice123@a.test", "bob12345@a.test"

PROGRAM = """#!/bin/sh
echo "$@" >> "$0.asked"
for word in "$@"; do case $word in *.users) cat "$word" >> "$0.users";; esac; done
cat "$0.says"
cat "$0.complains" >&2
exit $(cat "$0.status")
"""


class Said:
    """A script in doveadm's place."""

    def __init__(self, program: Path) -> None:
        self.path = program
        program.write_text(PROGRAM)
        program.chmod(0o755)
        self.will("")

    def will(self, say: str, *, complain: str = "", status: int = 0) -> Doveadm:
        for name, text in (("says", say), ("complains", complain), ("status", str(status)), ("asked", "")):
            self.path.with_name(f"doveadm.{name}").write_text(text)
        return Doveadm(str(self.path))

    @property
    def asked(self) -> list[str]:
        return self.path.with_name("doveadm.asked").read_text().splitlines()

    @property
    def users(self) -> list[str]:
        return self.path.with_name("doveadm.users").read_text().splitlines()


@pytest.fixture
def doveadm(tmp_path: Path) -> Said:
    return Said(tmp_path / "doveadm")


FETCHED = (
    "Username\tmailbox-guid\tuid\tsize.virtual\tdate.received.unixtime\n"
    f"{ALICE}\te8ed\t1\t2074\t1792805428\n"
    f"{BOB}\t5813\t7\t14\t1794706228\n"
)


def test_messages_of_several_users(doveadm: Said) -> None:
    found = list(doveadm.will(FETCHED).messages([ALICE, BOB], ("BEFORE", "5")))
    assert found == [Message(ALICE, "e8ed", 1, 2074, 1792805428), Message(BOB, "5813", 7, 14, 1794706228)]
    assert doveadm.users == [ALICE, BOB]
    (asked,) = doveadm.asked
    assert " mailbox * BEFORE 5" in asked
    # Not in the list of processes.
    assert ALICE not in asked


def test_everything_of_one_user_with_who_wrote_it(doveadm: Said) -> None:
    rows = [
        {"flags": "\\Seen \\Recent", "hdr.from": "Ü <X@Evil.test>"},
        {"flags": "\\Seenish", "hdr.from": "=?utf-8?q?a?=\n\t<bob@b.test>"},
        # Two fields, none, and what no program may take for a row of its own.
        {"flags": "", "hdr.from": "x@evil.test\ny@evil.test"},
        {"flags": "$x", "hdr.from": ""},
        {"flags": "", "hdr.from": 'a\tb\n "," <z@evil.test>, '},
    ]
    rest = {"mailbox-guid": "e8ed", "size.virtual": "2074", "date.received.unixtime": "1792805428"}
    said = json.dumps(
        [{**rest, "uid": str(uid), **row} for uid, row in enumerate(rows, 1)], ensure_ascii=False
    )
    found = list(doveadm.will(said).everything(ALICE))
    assert found[0] == Message(ALICE, "e8ed", 1, 2074, 1792805428, seen=True, sender="x@evil.test")
    assert [(one.uid, one.seen, one.sender) for one in found[1:]] == [
        (2, False, "bob@b.test"),
        (3, False, ""),
        (4, False, ""),
        (5, False, ""),
    ]
    assert list(doveadm.will("").everything(ALICE)) == []
    with pytest.raises(DoveadmError):
        list(doveadm.will("[{").everything(ALICE))


def test_nothing_found_is_nothing(doveadm: Said) -> None:
    assert list(doveadm.will(FETCHED.partition("\n")[0] + "\n").messages([ALICE], ())) == []
    assert list(doveadm.will("").messages([ALICE], ())) == []
    assert list(doveadm.will("[]").folders([ALICE])) == []
    assert list(doveadm.will("").folders([ALICE])) == []


def test_a_folder_that_is_not_there_hides_no_other(doveadm: Said) -> None:
    row = f'{{"username":"{ALICE}","mailbox":"New","messages":"0","uidvalidity":"1790000000"}}'
    complaint = "doveadm(alice123@a.test): Error: Mailbox Box: Mailbox doesn't exist: Box\n"
    gone = doveadm.will(f"[{row}]", complain=complaint, status=68)
    assert list(gone.folders([ALICE])) == [(ALICE, Folder("New", 0, 1790000000))]
    with pytest.raises(DoveadmError, match="exit status 75"):
        list(doveadm.will(f"[{row}]", complain=complaint, status=75).folders([ALICE]))
    with pytest.raises(DoveadmError, match="exit status 68"):
        list(doveadm.will("", complain=complaint, status=68).messages([ALICE], ()))


def test_how_full_mailboxes_are(doveadm: Said) -> None:
    said = (
        "Username\tQuota name\tType\tValue\tLimit\t%\n"
        f"{ALICE}\tUser quota\tSTORAGE\t13\t488282\t0\n"
        f"{ALICE}\tUser quota\tMESSAGE\t7\t-\t0\n"
        f"{BOB}\tUser quota\tSTORAGE\t13\t-\t0\n"
    )
    assert list(doveadm.will(said).usage([ALICE, BOB])) == [Usage(ALICE, 13 * 1024, 488282 * 1024)]


def test_folders_may_have_any_name(doveadm: Said) -> None:
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


def test_messages_are_removed_by_mailbox_many_at_once(doveadm: Said) -> None:
    messages = [Message(ALICE, "e8ed", uid, 1, 1) for uid in range(1, 5002)] + [
        Message(ALICE, "5813", 3, 1, 1)
    ]
    doveadm.will("").expunge(messages)
    ends = [line.rpartition("expunge ")[2] for line in doveadm.asked]
    assert ends[0].startswith(f"-u {ALICE} mailbox-guid e8ed uid 1,2,3,")
    assert ends[0].endswith(",5000")
    assert ends[1:] == [f"-u {ALICE} mailbox-guid e8ed uid 5001", f"-u {ALICE} mailbox-guid 5813 uid 3"]


def test_none_are_removed_without_asking(doveadm: Said) -> None:
    doveadm.will("", status=1).expunge([])
    assert doveadm.asked == []


def test_a_failure_comes_after_what_was_found_and_names_nobody(doveadm: Said) -> None:
    program = doveadm.will(FETCHED, complain=f"doveadm({BOB}): Error: no such luck\n", status=75)
    found: list[Message] = []
    with pytest.raises(DoveadmError, match=r"^doveadm fetch: exit status 75: .*no such luck") as failed:
        found.extend(program.messages([ALICE, BOB], ()))
    assert len(found) == 2
    assert "bob12345" not in str(failed.value)
    with pytest.raises(DoveadmError):
        program.expunge(found)


def test_no_dovecot_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        list(Doveadm(str(tmp_path / "none")).usage([ALICE]))
