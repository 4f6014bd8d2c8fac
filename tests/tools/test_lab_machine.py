"""The lab reads facts of the machine that it runs on."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab import base, cgroup, debian, process
from tests.lab.command import run
from tests.lab.errors import LabError
from tests.lab.plan import REPOSITORY, Paths
from tests.lab.wait import until

INDEX_TARGETS = """\
http://mirror.example/debian/ bookworm Debian main
http://mirror.example/debian/ bookworm-updates Debian main
http://mirror.example/debian-security/ bookworm-security Debian main
http://mirror.example/debian/ trixie Debian main
https://other.example/node_20.x/ nodistro . main
"""


def test_only_debians_own_repositories_of_the_suite_are_taken() -> None:
    assert debian.parse_index_targets(INDEX_TARGETS, "bookworm") == [
        debian.Repository("http://mirror.example/debian", "bookworm", "main"),
        debian.Repository("http://mirror.example/debian-security", "bookworm-security", "main"),
        debian.Repository("http://mirror.example/debian", "bookworm-updates", "main"),
    ]


@pytest.mark.parametrize("text", ["ID=debian\n", 'NAME=x\nID="debian"\n'])
def test_debian_is_recognized(text: str) -> None:
    debian.require_debian(text)


@pytest.mark.parametrize("text", ["ID=ubuntu\nID_LIKE=debian\n", ""])
def test_on_another_system_the_error_begins_with_what_to_do(text: str) -> None:
    with pytest.raises(LabError, match=r"^run this on Debian: [^\n]*$"):
        debian.require_debian(text)


def test_the_package_list_has_no_comments_and_is_in_order() -> None:
    assert base.package_list("# why\npostfix  # mail\n\ndovecot-core\npostfix\n") == [
        "dovecot-core",
        "postfix",
    ]


def test_a_base_stays_while_a_lab_stands_on_it_in_another_mount_namespace(tmp_path: Path) -> None:
    wanted, used, unused = (tmp_path / f"base-{name}" for name in ("wanted", "used", "unused"))
    for one in (wanted, used, unused):
        one.mkdir()
    script = 'mount --bind "$1" "$1" && echo mounted && read -r _'
    words = ["unshare", "--mount", "sh", "-c", script, "sh", str(used)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as lab:
        assert lab.stdout is not None
        assert lab.stdout.readline() == b"mounted\n"
        base.forget_others(Paths(tmp_path, tmp_path, tmp_path), wanted)
        assert sorted(tmp_path.iterdir()) == sorted([wanted, used])
        lab.communicate(b"\n")
    base.forget_others(Paths(tmp_path, tmp_path, tmp_path), wanted)
    assert list(tmp_path.iterdir()) == [wanted]


def test_a_base_of_one_release_takes_not_the_place_of_the_others(tmp_path: Path) -> None:
    paths = Paths(tmp_path, tmp_path, tmp_path)
    first, second = (base.path(paths, release=release) for release in ("12", "13"))
    assert first.name.startswith("base-")
    assert second.name.startswith("base13-")
    for one in (first, second):
        one.mkdir()
        base.forget_others(paths, one)
    assert sorted(tmp_path.iterdir()) == sorted([first, second])


def test_a_release_that_the_lab_does_not_have_is_named(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"^set LAB_A and LAB_B to one of 12, 13: there is no Debian 11$"):
        base.path(Paths(tmp_path, tmp_path, tmp_path), release="11")


@pytest.mark.parametrize(("chosen", "releases"), [({}, "12 12"), ({"LAB_B": "13"}, "12 13")])
def test_the_environment_chooses_the_releases_of_the_relays(chosen: dict[str, str], releases: str) -> None:
    known = {name: value for name, value in os.environ.items() if not name.startswith("LAB_")}
    program = "from tests.lab.plan import HOSTS, RELAYS as r; print(*(one.release for one in r)); "
    program += "print({one.release for one in HOSTS if not one.relay})"
    words = [sys.executable, "-c", program]
    done = subprocess.run(
        words, env=known | chosen, cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{releases}\n{{'12'}}\n"


def test_another_list_of_packages_is_another_base() -> None:
    assert base.key(["postfix"]) != base.key(["postfix", "nginx"])
    assert base.key(["postfix"]) == base.key(["postfix"])


def test_a_base_may_have_the_packages_of_several_lists(tmp_path: Path) -> None:
    other = tmp_path / "packages.txt"
    other.write_text("# Of another version.\npostfix\nzz-other\n")
    assert base.listed(other) == [*base.listed(), "zz-other"]
    paths = Paths(tmp_path, tmp_path, tmp_path)
    assert base.path(paths, base.listed()) == base.path(paths)
    assert base.path(paths, base.listed(other)) != base.path(paths)


def test_cgroup_hierarchies_of_both_versions_are_found_without_cpuset() -> None:
    mountinfo = (
        "30 23 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
        "31 30 0:27 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset\n"
        "32 30 0:28 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n"
        "33 30 0:29 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd\n"
        "34 30 0:30 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
    )
    root = Path("/sys/fs/cgroup")
    assert cgroup.mounts(mountinfo) == [root / "memory", root / "systemd", root / "unified"]


def test_a_process_name_with_spaces_and_parentheses_does_not_hide_its_start_time() -> None:
    fields = " ".join(["S", *(str(number) for number in range(4, 53))])
    assert process.identity(f"4321 (a ) (b) {fields}\n") == (4321, 22)


def test_a_started_process_is_found_again_and_ended(tmp_path: Path) -> None:
    record = tmp_path / "sleeper.process"
    process.start(["sleep", "1000"], record, tmp_path / "log")
    pid = wait_for(record)
    assert process.alive(record) == pid
    process.stop(record, deadline=5)
    assert process.alive(record) is None
    assert not record.exists()


def test_a_process_that_ignores_the_request_is_killed(tmp_path: Path) -> None:
    record = tmp_path / "stubborn.process"
    ready = tmp_path / "ready"
    os.mkfifo(ready)
    process.start(["sh", "-c", f"trap '' TERM; echo >{ready}; sleep 1000"], record, tmp_path / "log")
    ready.read_bytes()
    process.stop(record, deadline=0.1)
    assert process.alive(record) is None


def test_a_later_process_with_the_same_number_is_not_taken_for_ours(tmp_path: Path) -> None:
    own = Path("/proc/self/stat").read_text(encoding="utf-8")
    pid, started = process.identity(own)
    record = tmp_path / "record"
    record.write_text(own.replace(f" {started} ", f" {started - 1} ", 1), encoding="utf-8")
    assert process.alive(record) is None
    record.write_text(own, encoding="utf-8")
    assert process.alive(record) == pid


def test_a_command_that_fails_is_one_line_that_names_it() -> None:
    with pytest.raises(LabError, match=r"^look into `sh -c echo no >&2; exit 3`: no$"):
        run("sh", "-c", "echo no >&2; exit 3")


def wait_for(record: Path) -> int:
    return until(lambda: process.alive(record), 5, f"{record} did not come")


def test_another_suite_is_on_the_same_mirrors() -> None:
    found = debian.parse_index_targets(INDEX_TARGETS, "bookworm")
    assert debian.renamed(found, "bookworm", "trixie") == [
        debian.Repository("http://mirror.example/debian", "trixie", "main"),
        debian.Repository("http://mirror.example/debian-security", "trixie-security", "main"),
        debian.Repository("http://mirror.example/debian", "trixie-updates", "main"),
    ]
