"""Generated files of the Debian package: units, manual pages, maintainer scripts."""

from __future__ import annotations

import re
import subprocess
from configparser import ConfigParser
from importlib.metadata import distribution
from pathlib import Path

import click
import pytest

pytest.importorskip("yaml", reason="comes with ansible-core, of the group `lab`")

from chatmail_milter import config
from chatmail_milter.ctl.main import main as chatmailctl
from deb import package, troff, units

TOP = Path(__file__).resolve().parents[3]
UNITS = TOP / "ansible/roles/chatmail/templates/units"
SCRIPTS = ("prepare", "preinst", "postinst", "prerm", "postrm")


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    scripts = list(distribution("chatmail-milter").entry_points.select(group="console_scripts"))
    return package.texts(scripts, "1.2.3", 1_700_000_000)


@pytest.fixture(scope="module")
def programs() -> list[str]:
    """As setup.cfg has them."""
    setup = ConfigParser()
    setup.read(TOP / "setup.cfg")
    lines = setup["options.entry_points"]["console_scripts"].strip().splitlines()
    return [line.partition("=")[0].strip() for line in lines]


class TestUnits:
    def test_every_template_of_the_playbook_is_a_unit_of_the_package(self, texts: dict[str, str]) -> None:
        in_package = {Path(path).name for path in texts if path.startswith("lib/systemd/system/")}
        assert in_package == {path.stem for path in UNITS.iterdir()}
        assert len(in_package) > 20

    def test_what_units_start_is_in_the_package(self, texts: dict[str, str], programs: list[str]) -> None:
        started = set()
        for path, text in texts.items():
            if path.endswith(".service"):
                started |= set(re.findall(r"^ExecStart=(/usr/lib/chatmail-milter/\S+)", text, re.MULTILINE))
        known = {f"/usr/lib/chatmail-milter/bin/{name}" for name in [*programs, "gunicorn"]}
        assert started <= known
        assert len(started) >= 7

    def test_values_are_the_defaults_of_the_role(self, texts: dict[str, str]) -> None:
        assert "ListenStream=127.0.0.1:10028\n" in texts["lib/systemd/system/chatmail-hooks.socket"]
        wanted = "Wants=chatmail-hooks.service chatmail-milter.service "
        assert wanted in texts["lib/systemd/system/chatmail.target"]

    def test_a_variable_that_the_role_does_not_have_is_an_error(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "defaults").mkdir()
        (tmp_path / "vars").mkdir()
        (tmp_path / "templates").mkdir()
        (tmp_path / "defaults/main.yml").write_text('{computed_one: "{{ unknown }}"}')
        (tmp_path / "vars/main.yml").write_text("{chatmail_postfix_units: {}}")
        monkeypatch.setattr(units, "ROLE", tmp_path)
        for text, error in (
            ("{{ unknown }}", "unknown"),
            ("{{ computed_one }}", "computed_one"),
        ):
            (tmp_path / "templates/one.j2").write_text(text)
            with pytest.raises(Exception, match=error):
                units.render("one.j2")


class TestManual:
    def page(self, texts: dict[str, str], name: str) -> str:
        return texts[f"usr/share/man/{name}.gz"].replace("\\-", "-")

    def test_every_program_has_a_page(self, texts: dict[str, str], programs: list[str]) -> None:
        for name in programs:
            page = self.page(texts, f"man8/{name}.8")
            assert f".SH NAME\n{name} - " in page
            assert ".SH DESCRIPTION\n.PP\n" in page

    def test_the_page_of_chatmailctl_has_every_command(self, texts: dict[str, str]) -> None:
        page = self.page(texts, "man8/chatmailctl.8")
        assert ".SS account quota " in page
        names = chatmailctl.list_commands(click.Context(chatmailctl))
        assert len(names) > 10
        for name in names:
            assert f"\n.SS {name} " in page

    def test_the_page_of_the_configuration_has_every_setting(self, texts: dict[str, str]) -> None:
        page = self.page(texts, "man5/chatmail.toml.5")
        for name in config.Config.__struct_fields__:
            assert f".SH [{name}]\n" in page
        for section in (config.MailSettings, config.PushSettings, config.StoreSettings):
            for key in section.__struct_fields__:
                assert f"\n.TP\n\\fB{key}\\fR\n" in page
        assert (
            "\\fBmax_recipients\\fR\nMaximum number of recipients of a message. Default: \\fB1000\\fR.\n"
            in page
        )
        assert "of every account here. It must be set.\n" in page

    @pytest.mark.parametrize(
        ("text", "escaped"),
        [
            (".so /etc/passwd", "\\&.so /etc/passwd"),
            ("'tis", "\\(aqtis"),
            ("a\\b", "a\\eb"),
            ("--dry-run", "\\-\\-dry\\-run"),
            ("see `--json`", "see \\fB\\-\\-json\\fR"),
        ],
    )
    def test_no_text_is_taken_for_a_request(self, text: str, escaped: str) -> None:
        assert troff.formatted(text) == escaped


class TestScripts:
    @pytest.mark.parametrize("name", SCRIPTS)
    def test_all_words_are_filled_in_and_the_shell_can_read_it(self, name: str) -> None:
        script = package.script(name)
        assert not re.search(r"@[A-Z_]+@", script)
        subprocess.run(["sh", "-n"], input=script, text=True, check=True)

    @pytest.mark.parametrize("name", SCRIPTS)
    def test_no_adduser_and_no_question(self, name: str) -> None:
        assert not re.search(r"\b(adduser|addgroup|deluser|useradd|db_input|debconf)\b", package.script(name))

    def test_a_port_of_the_role_is_one_of_the_units(self, texts: dict[str, str]) -> None:
        """The secret URLs that are made without the playbook lead to the sockets of the package."""
        for name in ("push", "wake"):
            (port,) = re.findall(rf"^url {name}.url \S+ (\d+) ", package.script("prepare"), re.MULTILINE)
            assert f"ListenStream=127.0.0.1:{port}\n" in texts[f"lib/systemd/system/chatmail-{name}.socket"]


def test_the_package_depends_on_what_the_playbook_installs_for_it() -> None:
    assert {"ca-certificates", "libmilter1.0.1", "postfix"} == set(units.variables()["chatmail_packages"])


class TestDropIns:
    """What the playbook writes beside the package's units."""

    def test_each_is_of_a_unit_and_repeats_no_more_than_it_must(self, texts: dict[str, str]) -> None:
        found = units.variables()["chatmail_drop_ins"]
        assert found
        for unit, template in found.items():
            assert f"lib/systemd/system/{unit}" in texts
            text = units.render(template)
            assert "ExecStart" not in text
            # A list is emptied first, or the socket listens on both.
            assert text.count("ListenStream=\n") == text.count("ListenStream=127")

    def test_what_an_operator_sets_reaches_each_unit_that_says_it(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Found by other values: a unit that changes with them has a drop-in that does."""
        known, defaults = units.variables(), units.files()
        drop_ins = known["chatmail_drop_ins"]
        before = {unit: units.render(template) for unit, template in drop_ins.items()}
        operators = {
            name: known[name]
            for name in known
            if name not in ("ansible_managed", "chatmail_programs", "chatmail_postfix_unit")
        }
        other = {name: value + 1 for name, value in operators.items() if type(value) in (int, float)}
        other |= {name: f"{value}x" for name, value in operators.items() if isinstance(value, str)}
        monkeypatch.setattr(units, "variables", lambda: known | other)
        changed = {Path(path).name for path, text in units.files().items() if text != defaults[path]}
        assert changed >= {"chatmail-hooks.socket", "mxdeliv-app.service"}
        assert changed <= set(drop_ins)
        assert changed <= {unit for unit in drop_ins if units.render(drop_ins[unit]) != before[unit]}


def test_completion_is_there_for_three_shells(texts: dict[str, str]) -> None:
    found = {path for path in texts if "completions" in path}
    assert len(found) == 3
    assert all("_CHATMAILCTL_COMPLETE" in texts[path] for path in found)


def test_the_example_can_be_used(texts: dict[str, str]) -> None:
    example = texts["usr/share/doc/chatmail-milter/examples/chatmail.toml"]
    assert config.parse(example).mail.domain == "chat.example.org"
