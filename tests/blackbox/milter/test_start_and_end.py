"""The milter starts with a valid configuration and socket only, and ends all of its processes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.blackbox.milter.installed_milter import GOOD, MINIMAL, PROGRAM, InstalledMilter, inherit
from tests.chat.deadline import until
from tests.messages import ALICE, BOB
from tests.milter_client import MilterClient, wait_for


@pytest.fixture
def directory() -> Iterator[Path]:
    # Not tmp_path: a socket's path has at most 107 octets.
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def run(
    directory: Path, config: str, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    path = directory / "chatmail.toml"
    path.write_text(config)
    return subprocess.run(
        [PROGRAM, *arguments],
        env=os.environ | {"CHATMAIL_CONFIG": str(path)} | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    ("config", "names"),
    [
        ('[mail]\ndomain = "a.example"\ndoman = "x"\n', ("mail.doman", "mail.domain")),
        ('[mail]\ndomain = "a.example"\n[inbound]\nip_literals = "never"\n', ("inbound.ip_literals",)),
        ("[mail\n", ("TOML",)),
    ],
)
def test_a_bad_config_is_one_line_that_names_the_key(
    directory: Path, config: str, names: tuple[str, ...]
) -> None:
    ended = run(directory, config, "--socket", f"unix:{directory}/s")
    assert ended.returncode == 78
    assert len(ended.stderr.splitlines()) == 1
    assert all(name in ended.stderr for name in names)


def test_no_socket_is_a_usage_error(directory: Path) -> None:
    ended = run(directory, MINIMAL)
    assert ended.returncode == 2
    assert "--socket" in ended.stderr


def test_a_socket_meant_for_another_process_is_not_taken(directory: Path) -> None:
    assert run(directory, MINIMAL, LISTEN_FDS="1", LISTEN_PID="1").returncode == 2


def test_a_place_where_no_socket_can_be_is_an_error(directory: Path) -> None:
    ended = run(directory, MINIMAL, "--socket", f"unix:{directory}/none/s")
    assert ended.returncode == os.EX_OSERR
    assert "can't listen" in ended.stderr


def test_a_passed_socket_that_does_not_listen_is_an_error(directory: Path) -> None:
    (directory / "chatmail.toml").write_text(MINIMAL)
    environment = {"CHATMAIL_CONFIG": str(directory / "chatmail.toml")}
    with socket.socket(socket.AF_UNIX) as idle:
        process = inherit(idle, directory / "log", environment)
        assert process.wait(timeout=120) == os.EX_OSERR
    assert "can't listen: descriptor 3 is no listening socket" in (directory / "log").read_text()


def test_by_hand_it_opens_its_own_socket(directory: Path) -> None:
    path = directory / "chatmail.toml"
    path.write_text(MINIMAL)
    process = subprocess.Popen(
        [PROGRAM, "--socket", f"unix:{directory}/s"], env=os.environ | {"CHATMAIL_CONFIG": str(path)}
    )
    try:
        wait_for(f"{directory}/s")
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_at_once_and_leaves_systemd_s_socket(
    directory: Path, told: signal.Signals, processes: int
) -> None:
    milter = InstalledMilter(directory, processes=processes)
    wait_for(milter.path)
    with MilterClient(milter.path) as client:
        client.connect("submission")
        assert client.message(ALICE, [BOB], GOOD).reply == "continue"
        milter.process.send_signal(told)
        assert milter.process.wait(timeout=120) == 0
    assert Path(milter.path).is_socket()
    left = {entry.name.partition("-")[0] for entry in directory.iterdir()}
    assert left == {"chatmail.toml", "log", "s", "store"}


def test_the_end_of_one_process_ends_all_of_them(directory: Path) -> None:
    milter = InstalledMilter(directory)
    wait_for(milter.path)
    one, other = milter.pids
    os.kill(one, signal.SIGKILL)
    assert milter.process.wait(timeout=120) == os.EX_SOFTWARE
    assert not Path(f"/proc/{other}").exists()


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_the_first_process_ends_last(directory: Path, told: signal.Signals) -> None:
    milter = InstalledMilter(directory)
    wait_for(milter.path)
    workers = milter.pids
    # A worker that cannot end yet, as one whose checkpoint waits for the disk.
    os.kill(workers[0], signal.SIGSTOP)
    until("it is stopped", lambda: state(workers[0]) == "T", 20, every=0.01)
    milter.process.send_signal(told)
    until("the other worker has been waited for", lambda: not Path(f"/proc/{workers[1]}").exists(), 20)
    assert milter.process.poll() is None
    os.kill(workers[0], signal.SIGCONT)
    assert milter.process.wait(timeout=120) == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)


def test_no_process_outlives_the_first_one(directory: Path) -> None:
    milter = InstalledMilter(directory)
    wait_for(milter.path)
    pids = milter.pids
    milter.process.kill()
    milter.process.wait()
    for pid in pids:
        assert_gone(pid)


def state(pid: int) -> str:
    """The letter of proc(5)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def assert_gone(pid: int) -> None:
    def gone() -> bool:
        try:
            return state(pid) == "Z"
        except (ProcessLookupError, FileNotFoundError):
            return True

    until(f"process {pid} is gone", gone, 20, every=0.01)
