"""What goes into the Debian package besides programs: units, manual pages, maintainer scripts."""

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

TOP = Path(__file__).resolve().parents[2]
UNITS = TOP / "ansible/roles/chatmail/templates/units"
SCRIPTS = ("preinst", "postinst", "prerm", "postrm")


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
        (tmp_path / "vars/main.yml").write_text("{}")
        monkeypatch.setattr(units, "ROLE", tmp_path)
        for text, error in (
            ("{{ unknown }}", "unknown"),
            ("{{ computed_one }}", "computed_one"),
            ("/opt/chatmail", "left"),
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

    def test_the_scripts_make_what_the_playbook_makes(self) -> None:
        """Secrets by name and group, and the empty store."""
        tasks = (TOP / "ansible/roles/chatmail/tasks/main.yml").read_text("utf-8")
        assert set(re.findall(r"/etc/chatmail/([a-z]+\.(?:secret|key|url))", tasks)) == {"hooks.secret"}
        assert "loop: [store, names]" in tasks
        assert re.findall(r"- \{name: (\w+), port: .*, group: ([\w-]+)\}", tasks) == [
            ("push", "chatmail-push"),
            ("wake", "vmail"),
        ]
        made = re.findall(r"^secret (\S+) (\S+)", package.script("postinst"), re.MULTILINE)
        assert made == [
            ("hooks.secret", "chatmail-hooks"),
            ("store.key", "chatmail-store-key"),
            ("names.key", "chatmail-names-key"),
            ("push.url", "chatmail-push"),
            ("wake.url", "vmail"),
        ]


def test_completion_is_there_for_three_shells(texts: dict[str, str]) -> None:
    found = {path for path in texts if "completions" in path}
    assert len(found) == 3
    assert all("_CHATMAILCTL_COMPLETE" in texts[path] for path in found)


def test_the_example_can_be_used(texts: dict[str, str]) -> None:
    example = texts["usr/share/doc/chatmail-milter/examples/chatmail.toml"]
    assert config.parse(example).mail.domain == "chat.example.org"
