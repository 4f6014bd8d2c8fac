"""`chatmailctl doctor --only files`: what was changed since the playbook, and what no program reads."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pytest

from chatmail_milter.doctor import FindingState, files
from tests.unit.doctor.found import states


@pytest.fixture
def record(tmp_path: Path) -> Path:
    """Checksums of two files, as sha256sum(1) prints them."""
    lines = []
    for name in ("main.cf", "master.cf"):
        text = f"# {name}\n"
        (tmp_path / name).write_text(text)
        lines.append(f"{hashlib.sha256(text.encode()).hexdigest()}  {tmp_path / name}\n")
    (tmp_path / "record").write_text("".join(lines))
    return tmp_path / "record"


class TestDrift:
    def test_files_as_they_were_written_are_good(self, record: Path) -> None:
        assert states(files.check_written(record)) == {"drift": FindingState.GOOD}

    def test_a_changed_file_and_a_missing_one_are_named(self, record: Path) -> None:
        (record.parent / "main.cf").write_text("# main.cf\nmynetworks = 0.0.0.0/0\n")
        (record.parent / "master.cf").unlink()
        found = list(files.check_written(record))
        assert states(found) == {
            str(record.parent / "main.cf"): FindingState.SOON,
            str(record.parent / "master.cf"): FindingState.SOON,
        }
        assert [one.found for one in found] == ["was changed after the playbook wrote it", "is missing"]
        # Only that the file differs: it may have secrets.
        assert not any("mynetworks" in str(one) for one in found)

    def test_a_file_that_can_t_be_read_is_unknown(self, record: Path) -> None:
        (record.parent / "main.cf").unlink()
        (record.parent / "main.cf").mkdir()
        assert states(files.check_written(record))[str(record.parent / "main.cf")] is FindingState.UNKNOWN

    def test_on_a_host_without_the_playbook_nothing_can_be_said(self, tmp_path: Path) -> None:
        assert states(files.check_written(tmp_path / "none")) == {"drift": FindingState.UNKNOWN}


class ConfiguredHost:
    """Directories of settings of which one is included, and the units of the package."""

    def __init__(self, top: Path) -> None:
        self.top, self.warnings = top, ""
        for name in ("read.d", "unread.d", "system", "units"):
            (top / name).mkdir()
        (top / "main.conf").write_text(f"# include {top}/unread.d/*.conf\n  include {top}/read.d/*.conf;\n")
        (top / "units/chatmail-milter.service").touch()
        (top / "units/chatmail-orders@.service").touch()

    def found(self) -> dict[str, FindingState]:
        included = {self.top / name: self.top / "main.conf" for name in ("read.d", "unread.d")}
        packaged = (self.top / "status", self.top / "hashfile")
        return states(
            files.check_unread(self._run, included, self.top / "system", [self.top / "units"], packaged)
        )

    def _run(self, command: Sequence[str]) -> str:
        assert command[0].endswith("postconf")
        return self.warnings

    def drop_in(self, unit: str) -> Path:
        (self.top / "system" / f"{unit}.d").mkdir()
        (self.top / "system" / f"{unit}.d/override.conf").write_text("[Service]\nNice=5\n")
        return self.top / "system" / f"{unit}.d"


@pytest.fixture
def host(tmp_path: Path) -> ConfiguredHost:
    return ConfiguredHost(tmp_path)


class TestUnread:
    def test_nothing(self, host: ConfiguredHost) -> None:
        assert host.found() == {"unread": FindingState.GOOD}

    def test_a_file_in_a_directory_that_is_not_included(self, host: ConfiguredHost) -> None:
        for name in ("read.d", "unread.d"):
            (host.top / name / "own.conf").write_text("mail_debug = yes\n")
        assert host.found() == {str(host.top / "unread.d/own.conf"): FindingState.SOON}

    @pytest.mark.parametrize("line", [" {path} {digest}\n", "{digest}  {path}\n"])
    def test_but_not_one_of_a_package_nor_one_of_comments(self, host: ConfiguredHost, line: str) -> None:
        (host.top / "unread.d/comments.conf").write_text("# mail_debug = yes\n\n")
        path = host.top / "unread.d/10-mail.conf"
        path.write_text("mail_location = x\n")
        digest = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        (host.top / ("status" if line.startswith(" ") else "hashfile")).write_text(
            line.format(path=path, digest=digest)
        )
        assert host.found() == {"unread": FindingState.GOOD}
        path.write_text("mail_location = y\n")
        assert host.found() == {str(path): FindingState.SOON}

    def test_a_drop_in_of_a_unit_that_is_no_more(self, host: ConfiguredHost) -> None:
        host.drop_in("chatmail-milter.service")
        host.drop_in("chatmail-orders@.service")
        host.drop_in("other.service")
        assert host.found() == {"unread": FindingState.GOOD}
        old = host.drop_in("mxdeliv-relay-prospect.socket")
        assert host.found() == {str(old): FindingState.SOON}

    def test_a_parameter_that_postfix_does_not_know(self, host: ConfiguredHost) -> None:
        host.warnings = (
            "postconf: warning: /etc/postfix/main.cf: unused parameter: smtpd_recipent_limit=5\n"
            "postconf: warning: /etc/postfix/main.cf, line 9: overriding earlier entry: myhostname=a\n"
        )
        assert host.found() == {"/etc/postfix/main.cf: smtpd_recipent_limit": FindingState.SOON}

    def test_without_postfix_the_rest_is_looked_at(
        self, host: ConfiguredHost, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def away(_self: ConfiguredHost, _command: Sequence[str]) -> str:
            raise FileNotFoundError("postconf")

        monkeypatch.setattr(ConfiguredHost, "_run", away)
        old = host.drop_in("chatmail-doveauth.service")
        assert host.found() == {"parameters of Postfix": FindingState.UNKNOWN, str(old): FindingState.SOON}
