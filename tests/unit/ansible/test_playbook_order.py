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
