"""`chatmailctl block`: which entries it accepts, its error messages, and its confirmation."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from chatmail_milter.store.engine import open_store
from chatmail_milter.store.policies import Blocks, Policies
from tests.unit.chatmailctl import run


@pytest.fixture(autouse=True)
def _our_domain(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Below one that isn't ours."""
    file = tmp_path / "chatmail.toml"
    file.write_text(file.read_text().replace('"a.test"', '"chat.a.test"'))
    monkeypatch.setenv("CHATMAIL_DOVEADM", str(tmp_path / "doveadm"))  # there is none


def listed() -> Any:
    result = run("block", "list", "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


def entries() -> list[str]:
    return [row["entry"] for row in listed()]


class TestAdd:
    def test_several_at_once_with_a_note(self, store: str) -> None:
        result = run("block", "add", "Spam@B.test", "evil.test", "192.0.2.0/24", "--note", "because")
        assert (result.exit_code, result.stdout) == (0, "Added 3 entries.\n")
        today = date.today().isoformat()
        assert listed() == [
            {"entry": entry, "added": today, "note": "because"}
            for entry in ("192.0.2.0/24", "evil.test", "spam@b.test")
        ]
        table = run("block", "list").output
        assert "because" in table
        assert "192.0.2.0/24" in table
        assert Policies(open_store(store)).current().blocklist.has_address("spam@b.test")

    def test_again_says_how_many_were_new(self) -> None:
        run("block", "add", "evil.test")
        assert run("block", "add", "evil.test", "EVIL.test", "worse.test").stdout == (
            "Added 1 entry; 1 blocked before.\n"
        )
        assert run("block", "add", "evil.test").stdout == "Added 0 entries; 1 blocked before.\n"

    def test_each_that_is_none_is_named_with_what_to_write_and_nothing_is_changed(self) -> None:
        result = run("block", "add", "good.test", "192.0.2.7/24", "a b")
        assert result.exit_code == 1
        assert "192.0.2.7/24: that is an address in a network: write 192.0.2.0/24" in result.stderr
        assert "a b: the domain is malformed: write user@example.org" in result.stderr
        assert "Error: correct 2 of 3: nothing was changed" in result.stderr
        assert entries() == []

    @pytest.mark.parametrize("entry", ["chat.a.test", "CHAT.a.test", ".a.test", ".test"])
    def test_our_own_domain_is_not_blocked(self, entry: str) -> None:
        result = run("block", "add", entry)
        assert result.exit_code == 1
        assert "this would block all users of this relay, chat.a.test" in result.stderr
        assert entries() == []

    def test_our_own_domain_as_a_literal_is_not_blocked_by_its_network(self, tmp_path: Path) -> None:
        file = tmp_path / "chatmail.toml"
        file.write_text(file.read_text().replace("chat.a.test", "[192.0.2.1]"))
        assert "all users of this relay" in run("block", "add", "192.0.2.0/24").stderr
        assert run("block", "add", "198.51.100.0/24").exit_code == 0

    @pytest.mark.parametrize("entry", ["0.0.0.0/0", "::/0"])
    def test_the_whole_internet_is_not_blocked(self, entry: str) -> None:
        assert run("block", "add", entry).exit_code == 1
        assert entries() == []

    def test_one_of_our_users_is(self) -> None:
        assert run("block", "add", "mallory1@chat.a.test").exit_code == 0

    def test_sub_domains_come_with_a_word_about_the_domain_itself(self) -> None:
        assert (
            "b.test itself is not blocked by that; `chatmailctl block add b.test` does"
            in run("block", "add", ".b.test").stderr
        )
        assert run("block", "add", ".c.test", "c.test").stderr == ""

    @pytest.mark.parametrize("note", ["x" * 201, "two\nlines", "\x1b[31m"])
    def test_a_note_is_one_line(self, note: str) -> None:
        result = run("block", "add", "evil.test", "--note", note)
        assert result.exit_code == 2
        assert "a note is one line of at most 200 characters" in result.stderr

    def test_nothing_is_a_usage_error(self) -> None:
        assert run("block", "add").exit_code == 2


class TestSessions:
    """Only what can keep one of our users out may have to end a session; here is no Dovecot to ask."""

    SAYS = "IMAP sessions that are open stay open: this host has no Dovecot.\n"

    @pytest.mark.parametrize("entry", ["192.0.2.0/24", "mallory1@chat.a.test"])
    def test_where_there_is_no_dovecot_that_is_said_and_is_no_failure(self, entry: str) -> None:
        result = run("block", "add", entry)
        assert (result.exit_code, result.stderr) == (0, self.SAYS)

    def test_peers_have_none(self) -> None:
        assert run("block", "add", "spam@b.test", "evil.test").stderr == ""


class TestImport:
    def test_a_file_with_comments(self, tmp_path: Path) -> None:
        file = tmp_path / "list"
        file.write_bytes(
            b"\xef\xbb\xbf# head\r\n\r\nevil.test\r\n  .evil.test  # why\n#x\na#b@c.test\n192.0.2.1"
        )
        result = run("block", "import", str(file), "--note", "from a list")
        assert (result.exit_code, result.stdout) == (0, "Added 4 entries.\n")
        assert entries() == [".evil.test", "192.0.2.1", "a#b@c.test", "evil.test"]
        assert {row["note"] for row in listed()} == {"from a list"}

    def test_standard_input_and_twice_is_once(self) -> None:
        assert run("block", "import", "-", given="evil.test\nevil.test\n").stdout == "Added 1 entry.\n"
        assert run("block", "import", "-", given="evil.test\nworse.test\n").stdout == (
            "Added 1 entry; 1 blocked before.\n"
        )

    def test_all_or_nothing_with_each_bad_line_named(self) -> None:
        bad = b"good.test\n\xff\xfe\nbad entry\n# fine\n10.0.0.1/8\nchat.a.test\nother.test\n"
        result = run("block", "import", "-", given=bad)
        assert result.exit_code == 1
        lines = result.stderr.splitlines()
        assert [line.partition(":")[0] for line in lines] == ["line 2", "line 3", "line 5", "line 6", "Error"]
        assert lines[1].startswith("line 3: 'bad entry': ")
        assert lines[-1] == "Error: correct 4 of 6: nothing was changed"
        assert entries() == []

    def test_a_bad_line_is_shown_in_part_and_without_what_a_terminal_obeys(self) -> None:
        result = run("block", "import", "-", given=b"\x1b]0;x\x07" + b"x" * 100_000 + b"\n")
        assert result.exit_code == 1
        assert "\x1b" not in result.stderr
        assert len(result.stderr) < 400

    @pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n"])
    def test_nothing_at_all(self, text: str) -> None:
        result = run("block", "import", "-", given=text)
        assert (result.exit_code, result.stdout) == (0, "Nothing is listed there.\n")

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        assert run("block", "import", str(tmp_path / "missing")).exit_code == 2

    def test_ten_thousand(self, store: str) -> None:
        text = "".join(f"d{number}.test\n" for number in range(10_000))
        assert run("block", "import", "-", given=text).stdout == "Added 10000 entries.\n"
        assert len(Blocks(open_store(store)).list()) == 10_000


class TestRemove:
    def test_it_is_in_force(self, store: str) -> None:
        run("block", "add", "evil.test", "worse.test")
        assert run("block", "remove", "Evil.test").stdout == "Removed 1 entry.\n"
        assert not Policies(open_store(store)).current().blocklist.has_domain("evil.test")
        assert entries() == ["worse.test"]

    def test_what_was_not_blocked_is_named_and_the_others_are_removed(self) -> None:
        run("block", "add", "evil.test")
        result = run("block", "remove", "evil.test", "good.test")
        assert (result.exit_code, result.stdout) == (1, "Removed 1 entry.\n")
        assert "not blocked: good.test" in result.stderr
        assert entries() == []

    def test_what_can_be_no_entry_changes_nothing(self) -> None:
        run("block", "add", "evil.test")
        assert run("block", "remove", "evil.test", "a b").exit_code == 1
        assert entries() == ["evil.test"]


def test_an_empty_list() -> None:
    assert listed() == []
    assert run("block", "list").output == "The blocklist is empty.\n"


def test_help_explains_what_a_dot_means() -> None:
    assert "all domains below one but not itself" in " ".join(run("block", "--help").output.split())
    assert ".example.org blocks the subdomains of example.org" in run("block", "add", "--help").output
