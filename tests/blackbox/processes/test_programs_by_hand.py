"""Programs started by hand: `--help`, their sockets, and a one-line error for what is missing."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.blackbox.web.receiver import ALICE, Receiver
from tests.chat.deadline import until
from tests.milter_client import wait_for

BIN = Path(sys.executable).parent
PROGRAMS = (
    "chatmail-expire",
    "chatmail-milter",
    "chatmail-orders",
    "chatmail-push",
    "chatmail-recipients",
    "chatmail-trim",
    "chatmail-wake",
    "chatmailctl",
    "mxdeliv-relay",
)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "chatmail.toml").write_text(
        f'[mail]\ndomain = "a.example"\n[store]\nurl = "sqlite:///{tmp_path}/store"\n'
    )
    (tmp_path / "store").touch()
    (tmp_path / "url").write_text(f"http://127.0.0.1:1/{'x' * 64}/")
    url = str(tmp_path / "url")
    return {
        **os.environ,
        "CHATMAIL_CONFIG": str(tmp_path / "chatmail.toml"),
        "CHATMAIL_PUSH_URL": url,
        "CHATMAIL_WAKE_URL": url,
    }


def run(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BIN / words[0], *words[1:]],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@contextmanager
def running(environment: dict[str, str], *words: str) -> Iterator[None]:
    with subprocess.Popen([BIN / words[0], *words[1:]], env=environment) as process:
        try:
            yield
        finally:
            process.terminate()


def connected(path: Path) -> socket.socket:
    """A connection to a socket that a program is about to open."""

    def tried() -> socket.socket | None:
        found = socket.socket(socket.AF_UNIX)
        found.settimeout(60)
        if found.connect_ex(str(path)) == 0:
            return found
        found.close()
        return None

    return until("the socket is open", tried, 60)


@pytest.mark.parametrize("program", PROGRAMS)
def test_each_has_help_without_a_configuration(program: str) -> None:
    done = run({"CHATMAIL_CONFIG": "/nonexistent"}, program, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Usage: {program} ")


@pytest.mark.parametrize(
    ("module", "library"),
    [
        ("mxdeliv_app.postfix.recipients", "sqlalchemy"),
        ("mxdeliv_app.push.daemon", "dns"),
    ],
)
def test_what_would_be_much_of_its_memory_is_not_loaded(module: str, library: str) -> None:
    program = f"import {module}, sys; print({library!r} in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_the_relay_listens_where_it_is_told_and_needs_no_other_socket(
    environment: dict[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "relay"
    with running(environment, "mxdeliv-relay", "--listen", f"lmtp=unix:{path}"), connected(path) as client:
        assert client.recv(100).startswith(b"220 ")
        # Postfix's group may write, as it has to, to connect; nobody else may.
        assert stat.S_IMODE(path.stat().st_mode) == 0o660


def test_the_milter_s_own_socket_is_for_postfix_s_group_and_takes_a_dead_one_s_place(
    environment: dict[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "milter"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with running(environment, "chatmail-milter", "--socket", f"unix:{path}"):
        wait_for(str(path))
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        second = run(environment, "chatmail-milter", "--socket", f"unix:{path}")
        assert second.returncode == os.EX_OSERR
        assert second.stderr.endswith(f"can't listen: unix:{path}: another program does\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("mxdeliv-relay", "--listen", "lmpt=unix:{}/s"), "sockets must be named lmtp (there may be: "),
        (("mxdeliv-relay", "--listen", "lmtp={}/s"), "wants unix:PATH or HOST:PORT"),
        (("mxdeliv-relay", "--listen", "lmtp=unix:{}/no/s"), "No such file or directory"),
        (("chatmail-recipients",), "start it by its systemd socket units, or tell it to --listen (--help)"),
        (("chatmail-push", "--listen", "metadata=unix:{}/s"), "sockets must be named deliveries, metadata"),
        (("chatmail-wake", "/var/vmail", "--listen", "127.0.0.1:99999"), "can't listen at 127.0.0.1:99999"),
    ],
)
def test_what_is_missing_is_said_in_one_line(
    environment: dict[str, str], tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    done = run(environment, *(word.format(tmp_path) for word in words))
    assert done.returncode == 78
    assert done.stderr.startswith(f"{words[0]}: ")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("fields", [[], [("X-Real-IP", "unix:")]])
def test_without_the_peer_s_address_the_app_names_nginx_s_setting(
    receiver: Receiver, fields: list[tuple[str, str]]
) -> None:
    before = len(receiver.app.log)
    answer = receiver.app.request("POST", "/mxdeliv", [*fields, ("X-Mail-To", ALICE)])
    assert answer.status == 503
    said = receiver.app.log[before:]
    assert "nginx needs proxy_set_header X-Real-IP $remote_addr" in said
    assert "Traceback" not in said
    assert "event=bug" not in said


def test_the_app_behind_nginx_does_without_the_store_s_library() -> None:
    # Half of its memory; only registration by token needs it.
    imports = "import mxdeliv_app.serving.gunicorn_conf, mxdeliv_app.web.app, sys"
    program = f"{imports}; print('sqlalchemy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
