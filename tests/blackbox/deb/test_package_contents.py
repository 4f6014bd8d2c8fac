"""The Debian package that `make deb` built: its contents, lintian, and that two builds are identical."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from configparser import ConfigParser
from importlib.metadata import version
from pathlib import Path

import pytest

from deb import units
from tests.lab.deployment import must_be_of_this_tree
from tests.lab.errors import LabError
from tests.lab.plan import REPOSITORY

HOME = "usr/lib/chatmail-milter"
PACKAGE = REPOSITORY / f"dist/chatmail-milter_{version('chatmail-milter')}_amd64.deb"


def run(*words: str | Path) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True, cwd=REPOSITORY).stdout


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("package")
    run("dpkg-deb", "--extract", PACKAGE, root)
    return root


@pytest.fixture(scope="module")
def programs() -> list[str]:
    setup = ConfigParser()
    setup.read(REPOSITORY / "setup.cfg")
    lines = setup["options.entry_points"]["console_scripts"].strip().splitlines()
    return [line.partition("=")[0].strip() for line in lines]


def test_it_is_of_this_tree_and_builds_to_the_same_octets(tmp_path: Path) -> None:
    # Where it is built does not show, however long the path is.
    elsewhere = tmp_path / ("long-" * 20)
    elsewhere.mkdir()
    run(sys.executable, "-m", "deb", "--directory", elsewhere)
    assert (elsewhere / PACKAGE.name).read_bytes() == PACKAGE.read_bytes(), "run `make deb`"


class TestDeployment:
    """What the lab asks before it deploys."""

    def test_the_package_of_this_tree_may_be_deployed(self) -> None:
        must_be_of_this_tree()

    def test_one_of_another_may_not(self, tmp_path: Path) -> None:
        control = run("dpkg-deb", "--field", PACKAGE)
        (tmp_path / "tree/DEBIAN").mkdir(parents=True)
        other = re.sub(r"(?m)^(Chatmail-Sources: ).*$", r"\g<1>" + "0" * 64, control)
        (tmp_path / "tree/DEBIAN/control").write_text(other, "utf-8")
        run("dpkg-deb", "--build", tmp_path / "tree", tmp_path / "chatmail-milter.deb")
        with pytest.raises(LabError, match="another state of this tree: run `make deb`"):
            must_be_of_this_tree("--directory", str(tmp_path))

    def test_nor_may_none(self, tmp_path: Path) -> None:
        with pytest.raises(LabError, match="missing: run `make deb`"):
            must_be_of_this_tree("--directory", str(tmp_path))


def test_lintian_finds_nothing() -> None:
    done = subprocess.run(
        ["lintian", "--tag-display-limit=0", "--fail-on=error,warning", PACKAGE],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "")


def test_every_program_of_setup_cfg_is_there(unpacked: Path, programs: list[str]) -> None:
    for name in programs:
        first, _, _ = (unpacked / HOME / "bin" / name).read_text("utf-8").partition("\n")
        assert first == "#!/usr/lib/chatmail-milter/bin/python3"


def test_every_program_and_every_service_of_gunicorn_has_a_page(unpacked: Path, programs: list[str]) -> None:
    services = [
        unit.stem
        for unit in (unpacked / "lib/systemd/system").glob("*.service")
        if "/gunicorn " in unit.read_text("utf-8")
    ]
    assert len(services) == 3
    for name in (*programs, *services):
        page = unpacked / f"usr/share/man/man8/{name}.8.gz"
        said = subprocess.run(
            ["man", "--warnings", "--local-file", page],
            env={"LC_ALL": "C.UTF-8", "MANWIDTH": "80", "PATH": "/usr/bin:/bin"},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert (said.stdout.split()[0], said.stderr) == (f"{name.upper()}(8)", "")


def test_its_own_python_runs_its_own_libraries(unpacked: Path) -> None:
    """`python3` of the package finds what came along, and nothing of this machine's."""
    python = unpacked / HOME / "bin/python3"
    python.unlink()
    python.symlink_to("/usr/bin/python3")
    code = (
        "import sys, milter, nacl.bindings, argon2.low_level, sqlalchemy, msgspec, gunicorn.app.wsgiapp;"
        "import chatmail_milter.ctl.main, mxdeliv_app.web.app;"
        "import mxdeliv_app.relay.daemon, mxdeliv_app.push.daemon;"
        "files = {getattr(module, '__file__', None) or '' for module in sys.modules.values()};"
        "print(*(file for file in files if '-packages' in file))"
    )
    files = run(python, "-I", "-B", "-c", code).split()
    assert len(files) > 100
    assert all(file.startswith(str(unpacked)) for file in files)
    assert run(python, "-I", "-B", unpacked / HOME / "bin/chatmailctl", "--version").startswith("chatmailctl")


def test_nothing_of_the_build_is_in_it(unpacked: Path) -> None:
    """No path of the machine it was built on, no byte code, no installer's records."""
    texts = [path for path in unpacked.rglob("*") if path.is_file() and not path.is_symlink()]
    assert not [path for path in texts if str(REPOSITORY).encode() in path.read_bytes()]
    names = {path.name for path in unpacked.rglob("*")}
    assert not names & {"__pycache__", "RECORD", "INSTALLER", "direct_url.json", "activate"}


def test_units_are_what_ansible_makes_of_the_same_templates(tmp_path: Path) -> None:
    """With the package's variables: Ansible's Jinja treats the ends of lines in its own way."""
    variables, out = tmp_path / "variables.json", tmp_path / "out.json"
    variables.write_text(json.dumps({**units.variables(), "templates": list(units.templates())}), "utf-8")
    expression = (
        "{{ dict(templates | zip(query('ansible.builtin.template', *templates,"
        " template_vars={'ansible_managed': ansible_managed}))) | to_json }}"
    )
    copied = json.dumps({"dest": str(out), "content": expression})
    run(
        Path(sys.executable).with_name("ansible"), "localhost", "--playbook-dir", units.ROLE,
        "--module-name", "ansible.builtin.copy", "--args", copied, "--extra-vars", f"@{variables}",
    )  # fmt: skip
    rendered = json.loads(out.read_text("utf-8"))
    assert len(rendered) > 25
    assert rendered == {name: units.render(name) for name in rendered}


def test_names_of_commands_are_links_that_lead_there(unpacked: Path) -> None:
    for name in ("chatmailctl", "chatmail-expire"):
        link = unpacked / "usr/sbin" / name
        assert link.is_symlink()
        assert link.resolve() == unpacked / HOME / "bin" / name


def test_nothing_lies_where_an_admin_writes(unpacked: Path) -> None:
    """Neither configuration nor state: an upgrade overwrites none, and asks nothing."""
    tops = {str(path.relative_to(unpacked)) for path in [*unpacked.iterdir(), *(unpacked / "usr").iterdir()]}
    assert tops == {"lib", "usr", "usr/lib", "usr/sbin", "usr/share"}
    assert "conffiles" not in run("dpkg-deb", "--info", PACKAGE)
