"""The installed `chatmail-expire` and `chatmail-trim`, with a script in place of `doveadm`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select

from chatmail_milter.store.accounts import Accounts
from chatmail_milter.store.engine import open_store
from chatmail_milter.store.reserved_names import ReservedNames
from chatmail_milter.store.tables import reserved_names
from tests.chat.deadline import PATIENCE, until

BIN = Path(sys.executable).parent
SECONDS = 60.0
BOX = "5813e8ed" * 4

# Each mailbox is nearly full of two messages, unless there is a file `empty`. Of users named in a file
# `blocked` nothing is told while it is there.
DOVEADM = r"""#!/bin/sh
box=BOX
echo "$@" >> "$0.asked"
for word in "$@"; do case $word in *.users) users=$word;; esac; done
case "$*" in
    *" fetch -u "*)
        head='{"user":"'$7'","mailbox-guid":"'$box'","uid":'
        tail='"flags":"\\Seen","size.virtual":"450000","date.received.unixtime":"5","hdr.from":"x@b.test"}'
        printf '%s\n' "[$head\"1\",$tail,$head\"2\",$tail]" ;;
    *" fetch "*)
        cat "$users" >> "$0.looked"
        while [ -e "$0.blocked" ] && grep -q -F -f "$0.blocked" "$users"; do sleep 0.05; done
        printf 'Username\tuser\tmailbox-guid\tuid\tflags\tsize.virtual\tdate.received.unixtime\n'
        [ -e "$0.empty" ] || while read -r user; do
            printf '%s\t%s\t%s\t1\t\t300\t5\n' "$user" "$user" $box
            printf '%s\t%s\t%s\t2\t\t9\t6\n' "$user" "$user" $box
        done < "$users" ;;
    *" quota get "*)
        printf 'Username\tQuota name\tType\tValue\tLimit\t%%\n'
        [ -e "$0.empty" ] || while read -r user; do
            printf '%s\tUser quota\tSTORAGE\t800\t1000\t80\n' "$user"
        done < "$users" ;;
    *" mailbox status "*) echo '[]' ;;
esac
[ ! -e "$0.broken" ] || exit 75
""".replace("BOX", BOX)


class ExpiryHost:
    """A store, mailboxes, and a configuration that names them."""

    def __init__(self, root: Path) -> None:
        self.root, self.mail, self.doveadm = root, root / "mail", root / "doveadm"
        self.mail.mkdir()
        self.doveadm.write_text(DOVEADM)
        self.doveadm.chmod(0o755)
        self.url = url = f"sqlite:///{root}/store.sqlite"
        (root / "names.key").write_text("6e" * 32)
        config = root / "chatmail.toml"
        config.write_text(f'[mail]\ndomain = "a.test"\n[store]\nurl = "{url}"\nmail = "{self.mail}"\n')
        self.environment = {
            **os.environ, "CHATMAIL_CONFIG": str(config), "CHATMAIL_DOVEADM": str(self.doveadm),
            "CHATMAIL_NAMES_KEY": str(root / "names.key"),
        }  # fmt: skip
        self.accounts = Accounts(open_store(url), today=lambda: self.made, names=ReservedNames(0))
        self.made = datetime.now(UTC).date()

    def account(self, name: str, *, days: int = 0) -> None:
        """An account, made so many days ago, with a message."""
        self.made = datetime.now(UTC).date() - timedelta(days=days)
        self.accounts.create(f"{name}@a.test", "{X}")
        new = self.mail / "a.test" / name / "Maildir" / "new"
        new.mkdir(parents=True)
        (new / "1.secret").write_text("secret")

    def names(self) -> int:
        """How many are reserved."""
        with open_store(self.url).connect() as store:
            return store.execute(select(func.count()).select_from(reserved_names)).scalar_one()

    def start(self, *words: str) -> subprocess.Popen[str]:
        """A program, its output in pipes."""
        command = (str(BIN / words[0]), *words[1:])
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=self.environment, stdout=pipe, stderr=pipe, text=True)

    def run(self, *words: str) -> tuple[int, str, str]:
        """Exit status, what it printed, and what it complained of."""
        with self.start(*words) as program:
            printed, complained = program.communicate(timeout=SECONDS * PATIENCE)
        return program.returncode, printed, complained

    def told(self, name: str) -> list[str]:
        file = self.doveadm.with_name(f"doveadm.{name}")
        return file.read_text().splitlines() if file.exists() else []


@pytest.fixture
def host(tmp_path: Path) -> ExpiryHost:
    return ExpiryHost(tmp_path)


def addresses(names: Sequence[str]) -> list[str]:
    return [f"{name}@a.test" for name in names]


def test_a_pass_says_what_it_did_and_names_nobody(host: ExpiryHost) -> None:
    host.account("alice123")
    host.account("unused12", days=91)
    status, dry, _ = host.run("chatmail-expire", "--dry-run")
    assert status == 0
    assert not any("expunge" in line for line in host.told("asked"))
    assert len(host.accounts.list()) == 2
    status, printed, complained = host.run("chatmail-expire")
    assert (status, complained) == (0, "")
    assert [line.split()[0] for line in printed.splitlines()] == [
        "what=unused-accounts", "what=old-mail", "what=large-mail", "what=full-mailboxes",
        "what=empty-folders", "what=pass",
    ]  # fmt: skip
    assert "what=unused-accounts accounts=1\nwhat=old-mail messages=2 octets=309\n" in printed
    assert re.search(r"what=pass accounts=1 failures=0 resumed=no seconds=\d+\.\d\n", printed)
    assert "alice" not in dry + printed
    assert [one.address for one in host.accounts.list()] == addresses(["alice123"])
    assert not (host.mail / "a.test" / "unused12").exists()
    assert any(
        line.endswith(f"expunge -u alice123@a.test mailbox-guid {BOX} uid 1,2") for line in host.told("asked")
    )


def test_chatmailctl_does_the_same(host: ExpiryHost) -> None:
    host.account("alice123")
    host.account("unused12", days=91)
    runs = [host.run(*words, "--dry-run")[:2] for words in (["chatmail-expire"], ["chatmailctl", "expire"])]
    first, second = ((status, re.sub(r"seconds=\S+", "", printed)) for status, printed in runs)
    assert first == second
    assert first[0] == 0
    assert host.run("chatmailctl", "expire")[0] == 0
    assert [one.address for one in host.accounts.list()] == addresses(["alice123"])


def test_names_of_unused_accounts_are_reserved_and_forgotten_when_their_time_is_over(
    host: ExpiryHost,
) -> None:
    host.account("unused12", days=91)
    assert host.run("chatmail-expire")[0] == 0
    assert host.names() == 1
    assert host.run("chatmail-expire")[0] == 0
    assert host.names() == 1
    config = host.root / "chatmail.toml"
    config.write_text(config.read_text() + '[accounts]\nnames_kept = "0s"\n')
    assert host.run("chatmail-expire", "--dry-run")[0] == 0
    assert host.names() == 1
    assert host.run("chatmail-expire")[0] == 0
    assert host.names() == 0


def test_without_the_key_of_names_no_account_goes_and_a_line_says_so(host: ExpiryHost) -> None:
    host.account("unused12", days=91)
    (host.root / "names.key").unlink()
    status, _, complained = host.run("chatmail-expire")
    assert (status, complained.count("\n")) == (78, 1)
    assert complained.startswith(
        "chatmail-expire: run this as root, or run the playbook, which makes the key: "
    )
    assert len(host.accounts.list()) == 1
    assert (host.mail / "a.test" / "unused12").exists()


def test_nothing_goes_by_its_age_while_the_clock_is_days_after_the_last_pass(host: ExpiryHost) -> None:
    host.account("unused12", days=91)
    host.account("alice123")
    assert host.run("chatmail-expire", "--dry-run")[0] == 0
    witness = host.mail / ".expired"
    assert not witness.exists(), "a dry run is no witness"
    long_ago = time.time() - 90 * 86400
    witness.touch(mode=0o600)
    os.utime(witness, (long_ago, long_ago))
    for words in (("--dry-run",), (), ()):
        status, printed, complained = host.run("chatmail-expire", *words)
        printed = printed.replace("dry-run ", "")
        assert (status, complained) == (71, "")
        assert 'what=failure error="the clock is 90 days after the last pass, ' in printed
        assert "what=unused-accounts accounts=0\nwhat=old-mail messages=0 octets=0\n" in printed
        # What is done for want of room is done: both mailboxes are four fifths full, by what is in them all.
        assert "what=full-mailboxes messages=2 octets=900000\n" in printed
        assert len(host.accounts.list()) == 2
    status, printed, _ = host.run("chatmail-expire", "--clock-is-right")
    assert (status, "what=unused-accounts accounts=1\n" in printed) == (0, True)
    assert "what=old-mail messages=2 octets=309\n" in printed
    # From then on by itself.
    host.account("unused34", days=91)
    status, printed, _ = host.run("chatmail-expire")
    assert (status, "what=unused-accounts accounts=1\n" in printed) == (0, True)


def test_one_that_is_killed_is_resumed_where_it_was(host: ExpiryHost) -> None:
    names = [f"user{number:04}" for number in range(250)]
    for name in names:
        host.account(name)
    blocked = host.doveadm.with_name("doveadm.blocked")
    # In the second batch: one is of 200.
    blocked.write_text(f"{names[249]}\n")
    host.doveadm.with_name("doveadm.empty").touch()

    program = host.start("chatmail-expire")
    try:
        until("it is in the second", lambda: len(host.told("looked")) == 250, SECONDS)
        assert host.run("chatmail-expire")[::2] == (
            1, "chatmail-expire: UnderWayError: another pass is under way\n"
        )  # fmt: skip
    finally:
        program.kill()
        blocked.unlink()
        program.communicate()
    host.doveadm.with_name("doveadm.looked").unlink()
    status, printed, _ = host.run("chatmail-expire")
    assert (status, "resumed=yes" in printed) == (0, True)
    assert host.told("looked") == addresses(names[200:])
    assert "resumed=no" in host.run("chatmail-expire")[1]


def test_what_fails_is_told_and_left_for_the_next(host: ExpiryHost) -> None:
    host.account("alice123")
    host.doveadm.with_name("doveadm.broken").touch()
    status, printed, complained = host.run("chatmail-expire")
    assert (status, complained) == (75, "")
    assert 'what=failure error="doveadm fetch: exit status 75: "' in printed
    assert 'what=failure error="doveadm expunge: exit status 75: "' in printed
    assert "what=old-mail messages=0 octets=0" in printed
    host.doveadm.unlink()
    status, _, complained = host.run("chatmail-expire")
    assert status == 1
    assert complained.startswith("chatmail-expire: FileNotFoundError: ")
    assert complained.count("\n") == 1


def test_a_bad_configuration_is_one_line(host: ExpiryHost) -> None:
    (host.root / "chatmail.toml").write_text('[mail]\ndomain = "a.test"\n[expiry]\nmial = "1d"\n')
    status, _, complained = host.run("chatmail-expire")
    assert status == 78
    assert "expiry.mial: no such key; the nearest is expiry.mail" in complained


class TestTrim:
    def test_the_oldest_goes(self, host: ExpiryHost) -> None:
        assert host.run("chatmail-trim", "alice123@a.test") == (0, "", "")
        # 900,000 octets of 1000 KiB, in two messages that were read: one is enough, which it looks at again.
        asked = [re.sub(r".* -f \S+ ", "", line) for line in host.told("asked")]
        assert [line.split()[0] for line in asked[:4]] == ["quota", "fetch", "expunge", "quota"]
        assert asked[2] == f"expunge -u alice123@a.test mailbox-guid {BOX} uid 1"
        # Not for ever, though nothing helps here.
        assert len(asked) == 3 * 20

    def test_it_is_called_with_a_user(self, host: ExpiryHost) -> None:
        assert host.run("chatmail-trim")[0] == 2
        assert host.told("asked") == []

    def test_a_failure_is_temporary(self, host: ExpiryHost) -> None:
        host.doveadm.with_name("doveadm.broken").touch()
        assert host.run("chatmail-trim", "alice123@a.test")[0] == 75
