"""The order of the playbook's steps, and what a run does after one that failed midway."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

yaml = pytest.importorskip("yaml", reason="comes with ansible-core, of the extra `lab`")

ANSIBLE = Path(__file__).resolve().parents[3] / "ansible"


def loaded(path: str) -> Any:
    return yaml.safe_load((ANSIBLE / path).read_text("utf-8"))


def test_dns_records_are_printed_before_the_certificate_is_asked_for_and_last_of_all() -> None:
    """The authority looks for A records. The end of the output is what an operator sees."""
    play = next(one for one in loaded("site.yml") if "roles" in one)
    included = [next(iter(task.values())) for task in map(_module, play["post_tasks"])]
    steps = [*play["roles"], *(f"{one['name']}/{one['tasks_from']}" for one in included if "name" in one)]
    assert steps.index("dns_records") < steps.index("tls/acme") < steps.index("dns_records/last")
    assert steps[-1] == "dns_records/last"


def _module(task: dict[str, Any]) -> dict[str, Any]:
    """The module of a task and its arguments, as a mapping."""
    return {
        name: value if isinstance(value, dict) else {}
        for name, value in task.items()
        if name.startswith("ansible.builtin.")
    }


def test_the_last_step_says_which_file_has_the_records_and_which_are_missing() -> None:
    said, looked_up, missing = loaded("roles/dns_records/tasks/last.yml")[:3]
    assert "chatmail_dns_records_file" in said["ansible.builtin.debug"]["msg"]
    assert "chatmailctl" in str(looked_up)
    assert " dns" in str(looked_up) or "'dns'" in str(looked_up)
    assert looked_up["register"] in missing["ansible.builtin.debug"]["msg"]


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """A file that the playbook writes, written long ago, and `mark` beside it for the one in /run."""
    (tmp_path / "written").touch()
    return tmp_path


def looks(directory: Path) -> str:
    """What preflight's look for an earlier run finds."""
    tasks = loaded("roles/chatmail/tasks/preflight.yml")
    (task,) = [one for one in tasks if one.get("register") == "chatmail_earlier"]
    command = task["ansible.builtin.shell"]["cmd"].replace("/run/chatmail-playbook", f"{directory}/mark")
    command = re.sub(r"\{\{.*?\}\}", str(directory / "written"), command)
    return subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout.strip()


def test_a_run_that_failed_before_it_changed_anything_makes_the_next_restart_nothing(earlier: Path) -> None:
    assert looks(earlier) == ""
    later = (earlier / "written").stat().st_ctime + 10
    os.utime(earlier / "mark", (later, later))
    assert looks(earlier) == ""


def test_after_one_that_had_changed_something_everything_is_restarted(earlier: Path) -> None:
    assert looks(earlier) == ""
    os.utime(earlier / "mark", (1, 1))
    assert looks(earlier) == "interrupted"
    tasks = loaded("roles/chatmail/tasks/verify.yml")
    restarts = [task for task in tasks if "after an interrupted run" in task["name"]]
    assert [task["when"] for task in restarts] == ["'interrupted' in chatmail_earlier.stdout"] * 2


def test_a_run_of_a_part_is_complete_where_no_other_was_interrupted() -> None:
    """Else the next run would restart everything; and a part of the roles can't complete another run."""
    last = loaded("site.yml")[0]["post_tasks"][-1]
    assert last["ansible.builtin.file"] == {"path": "/run/chatmail-playbook", "state": "absent"}
    assert last["tags"] == "always"
    assert last["when"][1] == "'interrupted' not in chatmail_earlier.stdout or chatmail_restarts is defined"
    verify = loaded("roles/chatmail/tasks/verify.yml")
    (restart,) = [task for task in verify if task.get("register") == "chatmail_restarts"]
    assert restart["name"] == "Restart everything after an interrupted run"


class TestChecksums:
    """What a run leaves for `chatmailctl doctor`."""

    @pytest.fixture
    def host(self, tmp_path: Path) -> Path:
        """A file of the list, two in a directory that has others' files too, and the mark of a run."""
        (tmp_path / "etc/place").mkdir(parents=True)
        (tmp_path / "etc/main.cf").write_text("first\n")
        (tmp_path / "etc/place/ours").write_text("# Ansible managed\n")
        (tmp_path / "etc/place/others").write_text("# of Debian\n")
        (tmp_path / "mark").touch()
        return tmp_path

    def record(self, host: Path, *, whole: bool) -> tuple[str, list[str]]:
        """What the task prints, and the files that are as the record says."""
        (task,) = loaded("roles/chatmail/tasks/record.yml")
        command = task["ansible.builtin.shell"]["cmd"]
        values = {
            "chatmail_written | join(' ')": f"{host}/etc/main.cf {host}/etc/none",
            "chatmail_places | join(' ')": f"{host}/etc/place",
            "'' if whole else '-newercm /run/chatmail-playbook'": "" if whole else f"-newercm {host}/mark",
        }
        for expression, value in values.items():
            assert expression in command
            command = command.replace(f"{{{{ {expression} }}}}", value)
        record = host / "written.sha256"
        command = command.replace("/etc/chatmail/written.sha256", str(record))
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
        assert record.stat().st_mode & 0o077 == 0
        assert len({line.split("  ")[1] for line in record.read_text().splitlines()}) == 2
        checked = subprocess.run(
            ["sha256sum", "--check", record], capture_output=True, text=True, check=False
        ).stdout.splitlines()
        return done.stdout.strip(), [Path(line[:-4]).name for line in checked if line.endswith(": OK")]

    def test_a_run_records_what_it_writes_and_the_next_changes_nothing(self, host: Path) -> None:
        assert self.record(host, whole=True) == ("changed", ["main.cf", "ours"])
        assert self.record(host, whole=True) == ("", ["main.cf", "ours"])

    def test_a_run_of_a_part_does_not_take_others_changes_for_its_own(self, host: Path) -> None:
        self.record(host, whole=True)
        (host / "etc/main.cf").write_text("of an admin\n")
        later = (host / "etc/main.cf").stat().st_ctime + 10
        os.utime(host / "mark", (later, later))
        assert self.record(host, whole=False) == ("", ["ours"])
        os.utime(host / "mark", (1, 1))
        assert self.record(host, whole=False) == ("changed", ["main.cf", "ours"])

    def test_only_a_run_of_all_parts_is_whole(self) -> None:
        (task,) = loaded("roles/chatmail/tasks/record.yml")
        assert (
            "ansible_run_tags | list == ['all'] and ansible_skip_tags | length == 0" in task["vars"]["whole"]
        )
        step = next(one for one in loaded("site.yml")[0]["post_tasks"] if "record" in str(one))
        assert (step["tags"], step["when"]) == ("always", "not ansible_check_mode")
